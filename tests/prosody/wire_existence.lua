-- Which users exist: remembered, merged, and not asked about while the daemon is down. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, auth, login, granted = tools.same, tools.last, tools.auth, tools.login, tools.granted;
local both = scenarios.both;

local function exists(user) return stub.run(stub.provider.user_exists, user); end

-- How many lines were asked of the daemon.
local function asked()
	local count = 0;
	for _, link in ipairs(stub.links) do count = count + #link.lines; end
	return count;
end

local function allow(remember)
	stub.options.extauth_bridge_commands = { "auth", "isuser", "setpass", "tryregister", "removeuser" };
	stub.options.extauth_bridge_remember = remember;
	stub.load(arg[1]);
end

function both.a_yes_is_remembered_for_a_while()
	local one = exists("bob");
	last():answers("1");
	same(granted(one), true);
	stub.pass(50);
	same(granted(exists("bob")), true);
	stub.pass(249);
	same(granted(exists("bob")), true);
	same(asked(), 1);
	stub.pass(2);
	local two = exists("bob");
	same(two.result, nil);
	last():answers("0");
	same(granted(two), false);
	same(granted(exists("bob")), false);
	same(asked(), 2);
end

function both.a_no_is_remembered_for_a_moment()
	exists("bob");
	last():answers("0");
	stub.pass(9);
	same(granted(exists("bob")), false);
	stub.pass(2);
	local again = exists("bob");
	last():answers("1");
	same(granted(again), true);
	same(asked(), 2);
end

function both.for_as_long_as_is_configured()
	for remember, asks in pairs({ [0] = 2, [3] = 1, [1] = 2 }) do
		local before = asked();
		allow(remember);
		for _, answer in ipairs({ "1", "0" }) do
			exists("bob" .. answer);
			last():answers(answer);
			stub.pass(1.5);
			if not exists("bob" .. answer).result then last():answers(answer); end
		end
		same(asked() - before, 2 * asks);
		stub.module.unload();
	end
end

function both.a_failure_is_not_remembered()
	exists("bob");
	last():answers("2");
	local again = exists("bob");
	same(again.result, nil);
	last():answers("1");
	same(granted(again), true);
end

function both.what_was_granted_to_a_user_shows_that_he_exists()
	allow();
	auth("a");
	login();
	stub.run(stub.provider.set_password, "b", "secret");
	stub.run(stub.provider.create_user, "c", "secret");
	auth("d");
	stub.run(stub.provider.set_password, "e", "secret");
	last():answers("1", "1", "1", "1", "0", "0");
	local before = asked();
	for _, user in ipairs({ "a", "alice", "b", "c" }) do same(granted(exists(user)), true); end
	same(asked(), before);
	for _, user in ipairs({ "d", "e" }) do same(exists(user).result, nil); end
end

function both.no_password_is_ever_remembered()
	for number = 1, 5 do
		local one = login();
		last():answers(number % 2 == 1 and "1" or "0");
		same(one.result[1], number % 2 == 1 and "success" or "failure");
	end
	same(asked(), 5);
end

function both.what_is_asked_already_is_not_asked_again()
	local tasks = {};
	for number = 1, 50 do tasks[number] = exists("bob"); end
	local other = exists("carol");
	same(asked(), 2);
	last():answers("1", "0");
	for _, task in ipairs(tasks) do same(granted(task), true); end
	same(granted(other), false);
end

function scenarios.tagged.who_joins_late_still_has_his_time()
	local one = exists("bob");
	for number = 1, 3 do auth("u" .. number); end
	stub.pass(4);
	last():answers("-", "1", "1", "1");
	local two = exists("bob");
	stub.pass(1.1);
	same(granted(one), false);
	same(two.result, nil);
	same(last().lines[5], "isuser:bob:example.com");
	last():answers("1");
	same(granted(two), true);
end

function both.somebody_else_wakes_one_of_those_who_wait()
	local one, two = exists("bob"), exists("bob");
	assert(coroutine.resume(one.thread));
	same(granted(one), false);
	same(two.result, nil);
	last():answers("1");
	same(granted(two), true);
	same(granted(exists("bob")), true);
	same(asked(), 1);
end

function both.who_is_removed_is_forgotten()
	allow();
	exists("bob");
	last():answers("1");
	local before, removal, during = exists("bob"), stub.run(stub.provider.delete_user, "bob"), exists("bob");
	same(granted(before), true);
	same(during.result, nil);
	last():answers("1", "1"); -- it was asked before the removal took place, or so it seems
	same(granted(removal), true);
	local after = exists("bob");
	same(after.result, nil);
	last():answers("0");
	same(granted(after), false);
end

function both.so_is_who_logs_in_meanwhile()
	allow();
	auth("bob");
	stub.run(stub.provider.delete_user, "bob");
	last():answers("1", "1");
	same(exists("bob").result, nil);
end

function both.who_is_made_is_found_at_once()
	allow();
	exists("nora");
	last():answers("0");
	same(granted(exists("nora")), false);
	local made, during = stub.run(stub.provider.create_user, "nora", "secret"), exists("nora");
	last():answers("1", "0");
	same(granted(made), true);
	same(granted(during), false);
	same(granted(exists("nora")), true);
end

function both.where_nobody_can_wait_the_answer_is_what_is_remembered()
	same(stub.provider.user_exists("bob"), nil);
	same(#stub.sockets, 0);
	exists("bob");
	same(stub.provider.user_exists("bob"), nil);
	last():answers("1");
	same(stub.provider.user_exists("bob"), true);
	stub.pass(301);
	same(stub.provider.user_exists("bob"), nil);
	same(asked(), 1);
end

function both.the_number_of_remembered_users_is_bounded()
	for number = 1, 10001 do
		auth("u" .. number);
		last():answers("1");
		last().lines, last().addresses, last().sent = {}, {}, "";
	end
	same(granted(exists("u2")), true);
	same(exists("u1").result, nil);
end

function both.while_the_daemon_is_down_nobody_waits_for_it_just_to_ask()
	stub.refuse = "connection refused";
	local one = exists("a");
	stub.pass(3.2);
	same(granted(one), false);
	for number = 1, 50 do
		same(granted(exists("b" .. number)), false);
		stub.pass(0.1);
	end
	assert(#stub.sockets < 20, "too many attempts");
	stub.refuse = nil;
	stub.pass(1.1);
	local two = exists("c");
	last():answers("1");
	same(granted(two), true);
end

function both.so_while_it_is_silent()
	exists("a");
	stub.pass(5.1);
	local try = exists("b"); -- one of them may try
	same(try.result, nil);
	for number = 1, 20 do
		same(granted(exists("c" .. number)), false);
		stub.pass(0.1);
	end
	local person = login(); -- who has something to do may, too
	same(person.result, nil);
	last():answers("1", "1");
	same(granted(try), true);
	same(person.result[1], "success");
	local after = exists("d");
	last():answers("1");
	same(granted(after), true);
end
