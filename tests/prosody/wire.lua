-- What mod_auth_extauth_bridge writes to the daemon and believes of it, step by step.
-- Usage: lua wire.lua MODULE SCENARIO; or, without SCENARIO, prints the names of all.

local here = arg[0]:match("^(.*/)") or "./";
package.path = here .. "?.lua;" .. package.path;
local stub = require "stub";

local HELLO = "extauth-bridge:answers:3\n";
local PLAIN = "\0alice\0";

local function same(found, expected)
	if found ~= expected then
		error(("found %s, expected %s"):format(tostring(found), tostring(expected)), 2);
	end
end

local function last() return stub.sockets[#stub.sockets]; end
local function auth(user, password) return stub.run(stub.provider.test_password, user, password or "secret"); end
local function login(password)
	local handler = stub.provider.get_sasl_handler();
	return stub.run(function () return handler:process(PLAIN .. (password or "secret")); end), handler;
end

local function granted(task) return assert(task.result, "has no answer")[1] == true; end

local scenarios = {};

function scenarios.one_connection_and_answers_in_order()
	local one, two, three = auth("one"), auth("two", "a:b"), stub.run(stub.provider.user_exists, "three");
	same(#stub.sockets, 1);
	same(last().path, "/run/extauth-bridge/auth.sock");
	same(last().sent, HELLO .. "auth:one:example.com:secret\nauth:two:example.com:a:b\nisuser:three:example.com\n");
	last():says("1\n0\n1");
	same(granted(one), false);
	same(two.result, nil);
	last():says("\n");
	same(granted(two), true);
	last():says("1\n");
	same(granted(three), true);
	local four = auth("four");
	last():says("0\n");
	same(granted(four), false);
	same(#stub.sockets, 1);
end

function scenarios.every_byte_alone()
	local one, two = auth("one"), auth("two");
	for byte in ("1\n0\n1\n"):gmatch(".") do last():says(byte); end
	same(granted(one), false);
	same(granted(two), true);
end

function scenarios.every_command()
	stub.options.extauth_bridge_commands = { "auth", "isuser", "setpass", "tryregister", "removeuser" };
	stub.load(arg[1]);
	local p = stub.provider;
	local tasks = { stub.run(p.set_password, "u", "new"), stub.run(p.create_user, "v", "first"),
		stub.run(p.delete_user, "w") };
	same(last().sent, HELLO ..
		"setpass:u:example.com:new\ntryregister:v:example.com:first\nremoveuser:w:example.com\n");
	last():says("1\n1\n1\n1\n");
	for _, task in ipairs(tasks) do same(granted(task), true); end
end

function scenarios.what_is_not_allowed_is_not_asked()
	for _, task in ipairs({ stub.run(stub.provider.create_user, "u", "p"), stub.run(stub.provider.delete_user, "u") }) do
		same(granted(task), false);
		assert(task.result[2]:find("extauth_bridge_commands", 1, true));
	end
	same(#stub.sockets, 0);
end

function scenarios.what_a_line_cannot_carry_is_not_asked()
	local bad = { "x\nsetpass:bob:example.com:pwned", "x\r", "x\0y", "\1", "\127", "\194\133", "", "\255", "\192\128",
		"\237\160\128", "\244\144\128\128", "\224\159\191", "\240\143\191\191", "\226\130", "x\128", ("x"):rep(4096) };
	for _, secret in ipairs(bad) do
		same(granted(auth("alice", secret)), false);
		same(granted(stub.run(stub.provider.set_password, "alice", secret)), false);
		same((login(secret)).result[2], "not-authorized");
	end
	same(granted(auth("alice", ("x"):rep(4097 - #"auth:alice:example.com:"))), false);
	for _, user in ipairs({ "a:b", "", "a\n", "\194\159", "\255" }) do
		same(granted(auth(user)), false);
		same(granted(stub.run(stub.provider.user_exists, user)), false);
	end
	same(granted(stub.run(stub.provider.set_password, "alice", nil)), false);
	same(#stub.sockets, 0);
	for _, line in ipairs(stub.logged) do assert(not line:find("pwned"), "a secret in the log"); end
end

function scenarios.what_a_line_can_carry_is_asked()
	local longest = ("x"):rep(4096 - #"auth:alice:example.com:");
	local good = { ":", "::a:", " ", "\194\160", "\195\169", "\224\160\128", "\237\159\191", "\240\144\128\128",
		"\244\143\191\191", "\226\130\172", longest };
	local expected = HELLO;
	for _, secret in ipairs(good) do
		auth("alice", secret);
		expected = expected .. "auth:alice:example.com:" .. secret .. "\n";
	end
	same(last().sent, expected);
end

function scenarios.the_third_answer_is_a_temporary_failure()
	local one, two, handler = login(), login();
	last():says("1\n2\n0\n");
	same(one.result[2], "temporary-auth-failure");
	same(two.result[2], "not-authorized");
	local again = stub.run(function () return handler:process(PLAIN .. "secret"); end);
	last():says("1\n");
	same(again.result[1], "success");
end

function scenarios.so_it_is_after_a_first_attempt()
	local handler = stub.provider.get_sasl_handler():clean_clone():clean_clone();
	local task = stub.run(function () return handler:process(PLAIN .. "secret"); end);
	last():says("1\n2\n");
	same(task.result[2], "temporary-auth-failure");
end

function scenarios.an_older_daemon_has_two_answers()
	local one, two = login(), login();
	last():says("0\n1\n0\n");
	same(one.result[1], "success");
	same(two.result[2], "not-authorized");
	local three = login();
	last():says("2\n"); -- which it does not know
	same(three.result[2], "temporary-auth-failure");
	same(last().closed, true);
end

local function doubt(data)
	local one, two = login(), login();
	last():says(data);
	same(last().closed, true);
	for _, task in ipairs({ one, two }) do same(task.result[2], "temporary-auth-failure"); end
	stub.pass(2);
	local three = auth("three");
	same(#stub.sockets, 2);
	same(last().sent, HELLO .. "auth:three:example.com:secret\n");
	last():says("1\n1\n");
	same(granted(three), true);
end

local doubtful = { "2\n", "x", "1\n1\n1\n1\n", "1\n1\n1\n1", "1 \n", "1\r\n", "1\n11\n", "\n", "11", "1\nyes\n",
	"1\n1\n3\n", "\0\2\0\1", ("1\n"):rep(5000) };
for number, data in ipairs(doubtful) do
	scenarios["in_doubt_nothing_counts_" .. number] = function ()
		doubt(data);
	end
end

function scenarios.an_answer_to_nobody_ends_the_connection()
	auth("one");
	last():says("1\n1\n");
	last():says("1\n");
	same(last().closed, true);
	local two = auth("two");
	same(#stub.sockets, 2);
	same(two.result, nil);
end

function scenarios.an_answer_to_nobody_that_was_not_noticed_yet()
	auth("one");
	last():says("1\n1\n");
	last().incoming = "1\n";
	local two = auth("two");
	stub.pass(1);
	same(stub.sockets[1].closed, true);
	same(#stub.sockets, 2);
	same(two.result, nil);
	last():says("1\n0\n");
	same(granted(two), false);
end

function scenarios.a_disconnect_fails_what_was_sent()
	local one, two = login(), login();
	last():says("1\n1\n");
	last():ends();
	same(one.result[1], "success");
	same(two.result[2], "temporary-auth-failure");
	same(last().closed, true);
end

function scenarios.a_daemon_that_left_while_nothing_was_asked_is_no_loss()
	auth("one");
	last():says("1\n1\n");
	last().ended = true; -- not noticed before the next question
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

function scenarios.stanzas_of_components_are_handled_where_one_may_wait()
	local gateway = { host = "gw.example.com", type = "component" };
	local reused = { attr = { to = "alice@example.com" }, text = "hello" };
	same(stub.hooks["message/bare"]({ origin = gateway, stanza = reused }), true);
	reused.attr.to = "bob@example.com";
	same(stub.posted[1][2].attr.to, "alice@example.com");
	same(stub.posted[1][3], true);
	prosody.hosts["example.com"].sessions.bob = {};
	same(stub.hooks["message/bare"]({ origin = gateway, stanza = reused }), nil); -- he is there
	same(stub.hooks["message/bare"]({ origin = { type = "c2s" }, stanza = { attr = { to = "x@y" } } }), nil);
	local inside = stub.run(function ()
		return stub.hooks["message/bare"]({ origin = gateway, stanza = { attr = { to = "x@example.com" } } });
	end);
	same(inside.result[1], nil);
end

local gateway = { host = "gw.example.com", type = "component" };

local function arrives(to, text, origin)
	return stub.hooks["message/bare"]({ origin = origin or gateway, stanza = { attr = { to = to }, text = text } });
end

-- Where stanzas are handled: they wait there, until they go on in the main loop.
local function waiting_room()
	local room = {};
	prosody.core_post_stanza = function (_, stanza)
		table.insert(stub.posted, stanza.text);
		room[stanza.text] = coroutine.running();
		coroutine.yield();
	end
	function room.leave(text)
		assert(coroutine.resume(room[text]));
		stub.pass(0);
	end
	return room;
end

function scenarios.stanzas_keep_their_order()
	local room = waiting_room();
	same(arrives("alice@example.com", "a1"), true);
	prosody.hosts["example.com"].sessions.alice = {}; -- who came meanwhile; but others wait before it
	same(arrives("alice@example.com", "a2"), true);
	same(arrives("alice@example.com/phone", "a3"), true);
	same(table.concat(stub.posted, " "), "a1");
	room.leave("a1");
	same(table.concat(stub.posted, " "), "a1 a2");
	room.leave("a2");
	same(arrives("alice@example.com", "a4"), true);
	room.leave("a3");
	room.leave("a4");
	same(table.concat(stub.posted, " "), "a1 a2 a3 a4");
	same(arrives("alice@example.com", "a5"), nil); -- nothing is in line any more
end

function scenarios.one_users_stanzas_hold_up_nobody_elses()
	local room = waiting_room();
	arrives("alice@example.com", "a1");
	arrives("alice@example.com", "a2");
	arrives("bob@example.com", "b1");
	arrives("alice@example.com", "other", { host = "other.example.com", type = "component" });
	same(table.concat(stub.posted, " "), "a1 b1 other");
	room.leave("b1");
	arrives("bob@example.com", "b2");
	same(table.concat(stub.posted, " "), "a1 b1 other b2");
	room.leave("a1");
	same(stub.posted[5], "a2");
end

function scenarios.a_stanza_that_breaks_holds_up_none_behind_it()
	prosody.core_post_stanza = function (_, stanza)
		table.insert(stub.posted, stanza.text);
		error("broken");
	end
	for number = 1, 40 do arrives("alice@example.com", "a" .. number); end
	stub.pass(0);
	same(#stub.posted, 40);
	same(#stub.logged, 40);
	same(stub.timers(), 0);
end

function scenarios.a_flood_of_stanzas_is_bounded()
	local room = waiting_room();
	for number = 1, 1000 do same(arrives("u" .. number % 500 .. "@example.com", number), true); end
	same(#stub.posted, 32); -- so that there is time for logins in between
	same(arrives("v@example.com", "v"), nil);
	same(arrives("v@example.com", "v", { host = "other.example.com", type = "component" }), nil);
	room.leave(1);
	same(#stub.posted, 33);
	same(arrives("v@example.com", "v"), true);
	local number = 1;
	while stub.posted[number] do
		if number > 1 then room.leave(stub.posted[number]); end
		number = number + 1;
	end
	same(#stub.posted, 1001);
	for user = 0, 499 do prosody.hosts["example.com"].sessions["u" .. user] = {}; end
	for user = 0, 499 do same(arrives("u" .. user .. "@example.com", "late"), nil); end -- every line is gone
end

function scenarios.what_waits_when_the_host_goes_goes_with_it()
	local room = waiting_room();
	for _, text in ipairs({ "a1", "a2", "a3" }) do arrives("alice@example.com", text); end
	stub.module.unload();
	prosody.hosts["example.com"] = nil;
	room.leave("a1");
	same(#stub.posted, 1);
	same(#stub.logged, 0);
	same(stub.timers(), 0);
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

-- Not under every Lua, but where Prosody's own parts are there: whether the stub is as strict as they are.
function scenarios.the_stub_knows_utf8_as_prosody_does()
	package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;
	package.loaded["util.encodings"] = nil;
	local ok, encodings = pcall(require, "util.encodings");
	if not ok then return; end
	local bytes = { 0, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED,
		0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF };
	local function try(text, more)
		same(encodings.utf8.valid(text), stub.valid_utf8(text));
		for _, byte in ipairs(more > 0 and bytes or {}) do try(text .. string.char(byte), more - 1); end
	end
	try("", 4);
end

if not arg[2] then
	for name in pairs(scenarios) do print(name); end
	os.exit(0);
end
stub.load(arg[1]);
scenarios[arg[2]]();
