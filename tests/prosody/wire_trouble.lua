-- What takes too long, goes away, lies or floods. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, asked, auth, login, granted, PLAIN =
	tools.same, tools.last, tools.asked, tools.auth, tools.login, tools.granted, tools.PLAIN;
local both = scenarios.both;
local TOLD = tools.tagged and 0 or 1; -- that the daemon is older, in the log

function both.a_disconnect_fails_what_was_sent()
	local one, two = login(), login();
	last():answers("1");
	last():ends();
	same(one.result[1], "success");
	same(two.result[2], "temporary-auth-failure");
	same(last().closed, true);
end

function both.so_does_any_other_error()
	local one = login();
	last():ends("Connection reset by peer");
	same(one.result[2], "temporary-auth-failure");
	same(last().closed, true);
end

function both.with_its_last_words_a_daemon_answers()
	local one, two, three = login(), login(), login();
	last().incoming = last():text_of("1", "0") .. last():text_of("1"):sub(1, -2);
	last():ends();
	same(one.result[1], "success");
	same(two.result[2], "not-authorized");
	same(three.result[2], "temporary-auth-failure");
end

function both.a_line_of_which_only_a_part_was_taken_ends_the_connection()
	auth("one");
	stub.part = 9; -- `setpass:t`, `2 - setpa`
	local two = stub.run(stub.provider.set_password, "two", "secret");
	same(last().sent:match("[^\n]*$"), tools.tagged and "2 - setpa" or "setpass:t");
	stub.pass(0.1);
	same(stub.links[1].closed, true);
	same(#stub.links, 2);
	same(asked(), "setpass:two:example.com:secret");
	last():answers("1");
	same(granted(two), true);
end

function both.a_daemon_that_left_while_nothing_was_asked_is_no_loss()
	auth("one");
	last():answers("1");
	last().ended = "closed"; -- not noticed before the next question
	local two = auth("two");
	same(#stub.links, 2);
	last():answers("1");
	same(granted(two), true);
	same(#stub.logged, TOLD);
end

function both.a_broken_pipe_loses_no_question()
	auth("one");
	last():answers("1");
	last().broken = true;
	local two = auth("two");
	stub.pass(0.2);
	same(#stub.links, 2);
	last():answers("1");
	same(granted(two), true);
end

function both.a_daemon_that_answered_well_is_connected_to_again_at_once()
	for number = 1, 20 do
		local one = auth("one");
		same(#stub.links, number);
		last():answers("1");
		same(granted(one), true);
		local two = login();
		last():ends();
		stub.pass(0);
		same(two.result[2], "temporary-auth-failure");
	end
end

function both.one_that_hangs_up_on_everybody_is_left_alone_for_a_while()
	for _ = 1, 30 do
		login();
		stub.pass(0.05);
		if not last().closed then last():ends(); end
	end
	assert(#stub.links < 12, "too many attempts");
end

function both.no_answer_in_time()
	local one = login();
	stub.pass(3);
	local two = login();
	stub.pass(1.9);
	same(one.result, nil);
	stub.pass(0.2);
	same(one.result[2], "temporary-auth-failure");
	same(two.result[2], "temporary-auth-failure");
	same(stub.links[1].closed, true);
	same(stub.timers() <= 2, true);
end

function both.time_as_it_is_set()
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

function both.a_daemon_that_restarts_is_waited_for()
	stub.refuse = "connection refused";
	local one = login();
	stub.pass(1);
	same(one.result, nil);
	stub.refuse = nil;
	stub.pass(1);
	last():answers("1");
	same(one.result[1], "success");
end

function both.a_daemon_that_is_down_is_not_waited_for_and_not_besieged()
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
	last():answers("1");
	same(two.result[1], "success");
	same(#stub.logged, 2 + TOLD);
end

function both.a_full_queue_of_connections_is_tried_again()
	stub.refuse = "timeout";
	local one = login();
	stub.pass(1);
	stub.refuse = nil;
	stub.pass(0.1);
	last():answers("1");
	same(one.result[1], "success");
	same(#stub.logged, TOLD);
end

function both.a_full_buffer_holds_lines_back_whole()
	auth("one");
	stub.full = true;
	local two = auth("two");
	stub.pass(0.5);
	same(asked(), "auth:one:example.com:secret");
	assert(stub.timers() <= 2, "timers that nobody stops");
	stub.full = false;
	stub.pass(0.1);
	last():answers("0", "1");
	same(granted(two), true);
	same(#stub.links, 1);
end

function both.no_more_in_flight_than_the_daemon_reads()
	local tasks = {};
	for number = 1, 500 do tasks[number] = auth("u" .. number); end
	same(#last().lines, 192);
	for number = 1, 500 do last():answers(number % 3 == 0 and "0" or "1"); end
	for number = 1, 500 do same(granted(tasks[number]), number % 3 ~= 0); end
	assert(stub.timers() <= 2, "a timer for every query");
	stub.pass(70);
	same(stub.timers(), 0);
end

function both.who_merely_asks_leaves_room_for_logins()
	for number = 1, 400 do stub.run(stub.provider.user_exists, "u" .. number); end
	same(#last().lines, 160);
	for number = 1, 10 do auth("a" .. number); end
	same(#last().lines, 170);
	for _ = 1, 11 do last():answers("1"); end
	same(last().lines[171], "isuser:u161:example.com");
	auth("b");
	same(last().lines[172], "auth:b:example.com:secret");
end

function both.a_connection_that_nobody_uses_is_closed()
	auth("one");
	stub.pass(4);
	last():answers("1");
	stub.pass(59);
	same(last().closed, nil);
	local two = auth("two");
	same(#stub.links, 1);
	stub.pass(3);
	last():answers("1");
	same(granted(two), true);
	stub.pass(59);
	same(last().closed, nil);
	stub.pass(2);
	same(last().closed, true);
	same(stub.timers(), 0);
	same(#stub.logged, TOLD);
	local three = auth("three");
	same(#stub.links, 2);
	last():answers("1");
	same(granted(three), true);
end

function both.late_for_having_waited_here_is_no_doubt_in_the_daemon()
	for number = 1, 192 do auth("u" .. number); end
	local late = login();
	stub.pass(4);
	for _ = 1, 192 do last():answers("1"); end
	same(last().lines[193], "auth:alice:example.com:secret");
	stub.pass(1.5);
	same(late.result[2], "temporary-auth-failure");
	same(last().closed, nil);
	local next_one = auth("next");
	last():answers("1", "0"); -- the first is for nobody
	same(granted(next_one), false);
	same(#stub.links, 1);
end

function both.memory_is_bounded()
	auth("one");
	last():answers("1");
	stub.full = true;
	local tasks = {};
	for number = 1, 3000 do tasks[number] = auth("u" .. number); end
	local failed = 0;
	for _, task in ipairs(tasks) do if task.result then failed = failed + 1; end end
	same(failed, 3000 - 2048);
	stub.pass(6);
	for _, task in ipairs(tasks) do same(granted(task), false); end
	assert(stub.timers() <= 2);
end

function both.nothing_is_asked_where_nobody_can_wait()
	same(stub.provider.user_exists("alice"), nil);
	same(stub.provider.test_password("alice", "secret"), nil);
	same(stub.provider.set_password("alice", "secret"), nil);
	local status, condition = stub.provider.get_sasl_handler():process(PLAIN .. "secret");
	same(status .. " " .. condition, "failure temporary-auth-failure");
	same(#stub.sockets, 0);
end

function both.unloading_fails_what_is_open_and_closes_cleanly()
	local one, two = login(), login();
	local readable = last().readable;
	stub.module.unload();
	for _, task in ipairs({ one, two, (login()) }) do same(task.result[2], "temporary-auth-failure"); end
	last().incoming = last():text_of("1", "1", "1");
	readable(); -- found readable in the same turn of the main loop
	same(last().closed, true);
	same(asked(), "auth:alice:example.com:secret\nauth:alice:example.com:secret");
	same(#stub.links, 1);
	same(#stub.logged, TOLD); -- nothing is wrong with the daemon
	stub.pass(60);
	same(stub.timers(), 0);
end

function both.somebody_else_wakes_who_waits()
	local one, two = login(), auth("two");
	assert(coroutine.resume(one.thread));
	same(one.result[2], "temporary-auth-failure");
	last():answers("1", "0"); -- its answer is for nobody
	same(granted(two), false);
	same(#stub.links, 1);
end

function both.who_is_woken_asks_again_at_once()
	local task = stub.run(function ()
		local first = stub.provider.test_password("one", "secret");
		return stub.provider.test_password("two", "secret"), first;
	end);
	last():answers("1");
	last():answers("0");
	same(task.result[1], nil);
	same(task.result[2], true);
end

function both.what_was_answered_before_it_was_asked_is_no_answer()
	auth("one");
	last().incoming = last():text_of("1") .. (tools.tagged and "2 1\n" or "1\n"); -- not noticed before the next question
	local two = auth("two");
	same(table.concat(stub.links[1].lines), "auth:one:example.com:secret");
	stub.pass(1);
	same(stub.links[1].closed, true);
	same(two.result, nil);
	last():answers("0");
	same(granted(two), false);
end

function both.a_descriptor_that_select_cannot_wait_for_is_not_used()
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

-- Only one that never is answered is left of many.
function scenarios.tagged.what_never_is_answered_costs_nothing_for_ever()
	auth("never");
	local never = table.remove(last().open, 1);
	local function many()
		for number = 1, 3000 do
			auth("u" .. number);
			last():answers("1");
			last().lines, last().addresses, last().sent = {}, {}, "";
		end
	end
	many();
	same(#stub.links, 1);
	collectgarbage();
	local before = collectgarbage("count");
	many();
	collectgarbage();
	assert(collectgarbage("count") - before < 300, "some of them are kept");
	last():says(never .. " 1\n"); -- for whom nobody waits any more, or somebody does
	same(#stub.links, 1);
end

function scenarios.tagged.a_greeting_that_takes_long_is_waited_for_in_peace()
	stub.options.extauth_bridge_timeout = 200;
	stub.load(arg[1]);
	stub.mode = "silent";
	local one = login();
	stub.pass(150);
	stub.sockets[1]:says("1\n");
	stub.sockets[1]:says("1 1\n");
	same(one.result[1], "success");
end
