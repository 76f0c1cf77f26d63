-- What is sent, and what its answers mean. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, auth, login, granted, HELLO, PLAIN =
	tools.same, tools.last, tools.auth, tools.login, tools.granted, tools.HELLO, tools.PLAIN;

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
