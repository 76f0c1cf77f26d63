-- What takes too long, goes away, lies or floods. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, auth, login, granted, HELLO, PLAIN =
	tools.same, tools.last, tools.auth, tools.login, tools.granted, tools.HELLO, tools.PLAIN;

function scenarios.a_disconnect_fails_what_was_sent()
	local one, two = login(), login();
	last():says("1\n1\n");
	last():ends();
	same(one.result[1], "success");
	same(two.result[2], "temporary-auth-failure");
	same(last().closed, true);
end

function scenarios.so_does_any_other_error()
	local one = login();
	last():ends("Connection reset by peer");
	same(one.result[2], "temporary-auth-failure");
	same(last().closed, true);
end

function scenarios.with_its_last_words_a_daemon_answers()
	local one, two, three = login(), login(), login();
	last().incoming = "1\n1\n0\n1";
	last():ends();
	same(one.result[1], "success");
	same(two.result[2], "not-authorized");
	same(three.result[2], "temporary-auth-failure");
end

function scenarios.a_line_of_which_only_a_part_was_taken_ends_the_connection()
	auth("one");
	stub.part = 9; -- `setpass:t`
	local two = stub.run(stub.provider.set_password, "two", "secret");
	same(last().sent, HELLO .. "auth:one:example.com:secret\nsetpass:t");
	stub.pass(0.1);
	same(stub.sockets[1].closed, true);
	same(#stub.sockets, 2);
	same(last().sent, HELLO .. "setpass:two:example.com:secret\n");
	last():says("1\n1\n");
	same(granted(two), true);
end

function scenarios.a_daemon_that_left_while_nothing_was_asked_is_no_loss()
	auth("one");
	last():says("1\n1\n");
	last().ended = "closed"; -- not noticed before the next question
	local two = auth("two");
	same(#stub.sockets, 2);
	last():says("1\n1\n");
	same(granted(two), true);
	same(#stub.logged, 0);
end

function scenarios.a_broken_pipe_loses_no_question()
	auth("one");
	last():says("1\n1\n");
	last().broken = true;
	local two = auth("two");
	stub.pass(0.2);
	same(#stub.sockets, 2);
	last():says("1\n1\n");
	same(granted(two), true);
end

function scenarios.a_daemon_that_answered_well_is_connected_to_again_at_once()
	for number = 1, 20 do
		local one = auth("one");
		same(#stub.sockets, number);
		last():says("1\n1\n");
		same(granted(one), true);
		local two = login();
		last():ends();
		stub.pass(0);
		same(two.result[2], "temporary-auth-failure");
	end
end

function scenarios.one_that_hangs_up_on_everybody_is_left_alone_for_a_while()
	for _ = 1, 30 do
		login();
		stub.pass(0.05);
		if not last().closed then last():ends(); end
	end
	assert(#stub.sockets < 12, "too many attempts");
end

function scenarios.no_answer_in_time()
	local one = login();
	stub.pass(3);
	local two = login();
	stub.pass(1.9);
	same(one.result, nil);
	stub.pass(0.2);
	same(one.result[2], "temporary-auth-failure");
	same(two.result[2], "temporary-auth-failure");
	same(stub.sockets[1].closed, true);
	same(stub.timers() <= 1, true);
end

function scenarios.time_as_it_is_set()
	stub.options.extauth_bridge_timeout = 20;
	stub.options.extauth_bridge_socket = "/elsewhere";
	stub.load(arg[1]);
	local one = login();
	same(last().path, "/elsewhere");
	stub.pass(19.9);
	same(one.result, nil);
	stub.pass(0.2);
	same(one.result[2], "temporary-auth-failure");
end

function scenarios.a_daemon_that_restarts_is_waited_for()
	stub.refuse = "connection refused";
	local one = login();
	stub.pass(1);
	same(one.result, nil);
	stub.refuse = nil;
	stub.pass(1);
	last():says("1\n1\n");
	same(one.result[1], "success");
end

function scenarios.a_daemon_that_is_down_is_not_waited_for_and_not_besieged()
	stub.refuse = "No such file or directory";
	local one = login();
	stub.pass(3.2);
	same(one.result[2], "temporary-auth-failure");
	assert(#stub.sockets < 12, "too many attempts");
	for _ = 1, 10 do
		local more = login();
		stub.pass(1.01);
		same(more.result[2], "temporary-auth-failure");
	end
	assert(#stub.sockets < 35, "too many attempts");
	local before = #stub.sockets;
	for _ = 1, 100 do login(); end
	assert(#stub.sockets <= before + 1, "an attempt for every query");
	stub.pass(1.01);
	same(#stub.logged, 1);
	stub.refuse = nil;
	local two = login();
	stub.pass(1.01);
	last():says("1\n1\n");
	same(two.result[1], "success");
	same(#stub.logged, 2);
end

function scenarios.a_full_queue_of_connections_is_tried_again()
	stub.refuse = "timeout";
	local one = login();
	stub.pass(1);
	stub.refuse = nil;
	stub.pass(0.1);
	last():says("1\n1\n");
	same(one.result[1], "success");
	same(#stub.logged, 0);
end

function scenarios.a_full_buffer_holds_lines_back_whole()
	auth("one");
	stub.full = true;
	local two = auth("two");
	stub.pass(0.5);
	same(last().sent, HELLO .. "auth:one:example.com:secret\n");
	assert(stub.timers() <= 1, "timers that nobody stops");
	stub.full = false;
	stub.pass(0.1);
	last():says("1\n0\n1\n");
	same(granted(two), true);
	same(#stub.sockets, 1);
end

function scenarios.no_more_in_flight_than_the_daemon_reads()
	local tasks = {};
	for number = 1, 500 do tasks[number] = auth("u" .. number); end
	local _, lines = last().sent:gsub("\n", "");
	same(lines, 192);
	for number = 1, 501 do last():says(number % 3 == 0 and "0\n" or "1\n"); end
	for number = 1, 500 do same(granted(tasks[number]), (number + 1) % 3 ~= 0); end
	assert(stub.timers() <= 1, "a timer for every query");
	stub.pass(10);
	same(stub.timers(), 0);
end

function scenarios.late_for_having_waited_here_is_no_doubt_in_the_daemon()
	for number = 1, 191 do auth("u" .. number); end -- with HELLO the window is full
	local late = login();
	stub.pass(4);
	for _ = 1, 192 do last():says("1\n"); end
	assert(last().sent:find("auth:alice:example.com:secret\n$"));
	stub.pass(1.5);
	same(late.result[2], "temporary-auth-failure");
	same(last().closed, nil);
	local next_one = auth("next");
	last():says("1\n0\n"); -- the first is for nobody
	same(granted(next_one), false);
	same(#stub.sockets, 1);
end

function scenarios.memory_is_bounded()
	stub.full = true;
	local tasks = {};
	for number = 1, 3000 do tasks[number] = auth("u" .. number); end
	local failed = 0;
	for _, task in ipairs(tasks) do if task.result then failed = failed + 1; end end
	same(failed, 3000 - 2048);
	stub.pass(6);
	for _, task in ipairs(tasks) do same(granted(task), false); end
	assert(stub.timers() <= 1);
end

function scenarios.nothing_is_asked_where_nobody_can_wait()
	same(stub.provider.user_exists("alice"), nil);
	same(stub.provider.test_password("alice", "secret"), nil);
	same(stub.provider.set_password("alice", "secret"), nil);
	local status, condition = stub.provider.get_sasl_handler():process(PLAIN .. "secret");
	same(status .. " " .. condition, "failure temporary-auth-failure");
	same(#stub.sockets, 0);
end

function scenarios.unloading_fails_what_is_open_and_closes_cleanly()
	local one, two = login(), login();
	stub.module.unload();
	for _, task in ipairs({ one, two, (login()) }) do same(task.result[2], "temporary-auth-failure"); end
	last():says("1\n1\n1\n"); -- found readable in the same turn of the main loop
	same(last().closed, true);
	same(last().sent, HELLO .. ("auth:alice:example.com:secret\n"):rep(2));
	same(#stub.sockets, 1);
	stub.pass(60);
	same(stub.timers(), 0);
end

function scenarios.somebody_else_wakes_who_waits()
	local one, two = login(), auth("two");
	assert(coroutine.resume(one.thread));
	same(one.result[2], "temporary-auth-failure");
	last():says("1\n1\n0\n"); -- its answer is for nobody
	same(granted(two), false);
	same(#stub.sockets, 1);
end

function scenarios.who_is_woken_asks_again_at_once()
	local task = stub.run(function ()
		local first = stub.provider.test_password("one", "secret");
		return stub.provider.test_password("two", "secret"), first;
	end);
	last():says("1\n1\n");
	last():says("0\n");
	same(task.result[1], nil);
	same(task.result[2], true);
end

function scenarios.what_was_answered_before_it_was_asked_is_no_answer()
	auth("one");
	last().incoming = "1\n1\n1\n"; -- one more than was asked; not noticed before the next question
	local two = auth("two");
	same(stub.sockets[1].sent, HELLO .. "auth:one:example.com:secret\n");
	stub.pass(1);
	same(stub.sockets[1].closed, true);
	same(two.result, nil);
	last():says("1\n0\n");
	same(granted(two), false);
end

function scenarios.a_descriptor_that_select_cannot_wait_for_is_not_used()
	package.loaded["socket"] = { _SETSIZE = 1024 };
	package.loaded["net.server"].get_backend = function () return "select"; end;
	stub.load(arg[1]);
	local new_socket, descriptor = package.loaded["socket.unix"].stream, 1024;
	package.loaded["socket.unix"].stream = function ()
		local new = new_socket();
		new.descriptor = descriptor;
		return new;
	end
	stub.load(arg[1]);
	local one = login();
	stub.pass(3.2);
	same(one.result[2], "temporary-auth-failure");
	for _, socket in ipairs(stub.sockets) do same(socket.closed, true); end
	assert(stub.logged[1]:find("too many open files", 1, true));
end
