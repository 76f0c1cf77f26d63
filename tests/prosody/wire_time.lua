-- A daemon that reads less at a time than is sent to it, one that comes to a standstill, and a standstill of our own.
-- See wire.lua.

local scenarios, stub, tools = ...;
local same, last, asked, auth, login, granted, is_unavailable =
	tools.same, tools.last, tools.asked, tools.auth, tools.login, tools.granted, tools.unavailable;
local both = scenarios.both;
local TOLD = tools.tagged and 0 or 1; -- that the daemon is older

-- So many logins at once.
local function burst(count)
	local tasks = {};
	for number = 1, count do tasks[number] = login(); end
	return tasks;
end

-- A daemon with a window of 1: one answer after the other, each after so many seconds.
local function answers(count, seconds, answer)
	for _ = 1, count do
		stub.pass(seconds);
		last():answers(answer or "1");
	end
end

-- All timers and sockets stand still, the clock does not: SIGSTOP.
local function stand_still(seconds)
	stub.now = stub.now + seconds;
end

function both.a_login_behind_late_ones_is_answered_in_its_time()
	local tasks = burst(10);
	answers(8, 0.6);
	for number = 1, 8 do same(tasks[number].result[1], "success"); end
	local right, wrong = auth("right"), auth("wrong");
	answers(2, 0.6); -- for nobody: those two had their time
	for number = 9, 10 do same(is_unavailable(tasks[number]), true); end
	same(right.result, nil);
	answers(1, 0.6);
	same(granted(right), true);
	answers(1, 0.6, "0");
	same(granted(wrong), false);
	same(#stub.links, 1);
end

function both.no_more_is_sent_to_a_daemon_that_is_behind_than_it_can_answer()
	burst(10);
	answers(8, 0.6);
	local tasks = {};
	for number = 1, 5 do tasks[number] = auth("before" .. number); end
	stub.pass(0.3); -- 5.1 s: the 9th is late, while which waited 8 were answered, and 7 are on their way
	tasks[6], tasks[7] = auth("sixth"), auth("seventh");
	stub.pass(0.1);
	assert(asked():find("sixth", 1, true));
	assert(not asked():find("seventh", 1, true));
	answers(2, 0.1); -- for nobody
	assert(asked():find("seventh", 1, true), "no longer behind");
	for number = 1, 7 do
		answers(1, 0.5, number % 2 == 0 and "0" or "1");
		same(granted(tasks[number]), number % 2 == 1);
	end
	same(#stub.links, 1);
	same(#stub.logged, 2 + TOLD); -- it was too slow, and answers again
end

function both.what_cannot_be_answered_in_time_keeps_nobody_else_waiting()
	local tasks = burst(300); -- of which 108 are not yet sent
	answers(4, 1);
	stub.pass(0.5);
	local unlucky = login();
	stub.pass(0.6);
	for number = 5, 300 do same(is_unavailable(tasks[number]), true); end
	same(is_unavailable(unlucky), true);
	same(stub.links[1].closed, true);
	local after = auth("after");
	same(#stub.links, 2);
	same(asked(), "auth:after:example.com:secret");
	answers(1, 1);
	same(granted(after), true);
	same(#stub.logged, 2 + TOLD);
	assert(stub.logged[1 + TOLD]:find("is too slow", 1, true));
end

-- More is asked all the time than a daemon with a window of 1 can answer.
function both.under_a_steady_overload_as_many_are_answered_as_can_be()
	local tasks, good = {}, 0;
	for _ = 1, 60 do
		for _ = 1, 50 do
			tasks[#tasks + 1] = login();
			stub.pass(1 / 50);
		end
		last():answers("1");
	end
	for _, task in ipairs(tasks) do
		if task.result and task.result[1] == "success" then good = good + 1; end
	end
	assert(good >= 60 * 0.6, good);
	assert(#stub.logged < 40, #stub.logged);
end

function both.a_daemon_that_comes_to_a_standstill_is_noticed_in_time()
	burst(5);
	answers(3, 1.3);
	stub.pass(0.5);
	local late = login(); -- it has until 9.4 s
	stub.pass(4.4);
	same(late.result, nil);
	same(last().closed, nil);
	stub.pass(0.2); -- 9.0 s, 5.1 s after the last answer
	same(is_unavailable(late), true);
	same(last().closed, true);
	auth("next");
	same(#stub.links, 2);
end

function both.having_been_idle_is_no_standstill()
	burst(1);
	last():answers("1");
	stub.pass(55);
	local one = auth("one");
	stub.pass(4.9);
	same(one.result, nil);
	last():answers("1");
	same(granted(one), true);
	same(#stub.links, 1);
end

-- Whatever the main loop looks at first, its sockets or its clock.
local function the_loop_goes_on(first)
	if first == "sockets" then last().readable(); end
	stub.pass(0);
	stub.pass(0.1);
end

for _, first in ipairs({ "sockets", "timers" }) do
	both["read_after_its_time_is_unavailable_" .. first] = function ()
		local tasks = burst(2);
		stand_still(5.1);
		last().incoming = last():text_of("1", "0");
		the_loop_goes_on(first);
		for _, task in ipairs(tasks) do same(is_unavailable(task), true); end
		local one = auth("one");
		same(#stub.links, 1); -- the daemon was in time
		last():answers("1");
		same(granted(one), true);
	end

	both["read_in_its_time_it_counts_" .. first] = function ()
		local one = login();
		stub.pass(2);
		local two, three = login(), login();
		stand_still(4);
		last().incoming = last():text_of("1", "1", "0");
		the_loop_goes_on(first);
		same(is_unavailable(one), true);
		same(two.result[1], "success");
		same(three.result[2], "not-authorized");
		same(#stub.links, 1);
	end

	both["what_had_its_time_unsent_is_never_sent_" .. first] = function ()
		burst(1);
		last():answers("1");
		stub.full = true;
		local change = stub.run(stub.provider.set_password, "alice", "new");
		stand_still(5.1);
		stub.full = false;
		the_loop_goes_on(first);
		same(granted(change), false);
		assert(not asked():find("setpass", 1, true));
	end
end
