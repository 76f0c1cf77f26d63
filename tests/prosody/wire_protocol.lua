-- The protocol without anything around it: what a line, an address, an answer is. See wire.lua.

local scenarios, stub, tools = ...;
local same = tools.same;
local both = scenarios.both;

local function protocol() return assert(loadfile(arg[1] .. "/protocol.lib.lua"))(); end

function both.the_protocol_needs_nothing_of_prosodys()
	package.loaded["util.async"] = nil;
	local _module, _prosody = module, prosody;
	module, prosody = nil, nil;
	same(protocol().compose("auth", "u", "h", "p"), "auth:u:h:p");
	module, prosody = _module, _prosody;
end

function both.what_a_line_cannot_carry_is_none()
	local compose = protocol().compose;
	local bad = { "x\nsetpass:bob:example.com:pwned", "x\r", "x\0y", "\1", "\127", "\194\133", "", "\255", "\192\128",
		"\237\160\128", "\244\144\128\128", "\224\159\191", "\240\143\191\191", "\226\130", "x\128", ("x"):rep(32767) };
	for _, text in ipairs(bad) do
		same(compose("auth", "u", "h", text), nil);
		same(compose("auth", text, "h", "p"), nil);
		same(compose("auth", "u", text, "p"), nil);
		same(compose("isuser", text, "h"), nil);
	end
	for _, name in ipairs({ "a:b", ":" }) do
		same(compose("auth", name, "h", "p"), nil);
		same(compose("auth", "u", name, "p"), nil);
	end
	for _, secret in ipairs({ false, 1, {} }) do same(compose("auth", "u", "h", secret), nil); end
	same(#compose("auth", "u", "h", ("x"):rep(32767 - #"auth:u:h:")), 32767);
end

function both.an_address_is_one_or_none_is_given()
	local address = protocol().address;
	for _, good in ipairs({ "192.0.2.7", "0.0.0.0", "255.255.255.255", "::", "::1", "1::", "2001:db8::5",
		"1:2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "::ffff:192.0.2.7", "1:2:3:4:5:6:192.0.2.7", "FE80::A" }) do
		same(address(good), good);
	end
	same(address("fe80::1%eth0"), "fe80::1");
	for _, bad in ipairs({ "", " ", "-", "localhost", "unix", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4 ",
		"1.2.3.4\n", "1:2", ":::", "1:::2", "1::2::3", ":1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2:3:4:5:6:7:8", "12345::",
		"g::", "::1.2.3.4:5", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4", "[::1]", "1.2.3.4:5222", "::1 auth:bob:h:x", 7, {} }) do
		same(address(bad), "-");
	end
	same(address(nil), "-");
end

function both.whole_answers_and_the_part_of_one()
	local answers = protocol().tagged_answers;
	local open = { ["1"] = true, ["2"] = true, ["30"] = true };
	local text = "2 1\n30 0\n1 2\n";
	for size = 0, #text do
		local found, part = answers(text:sub(1, size), open, 3);
		local _, ends = text:sub(1, size):gsub("\n", "");
		same(#found, ends);
		same(#part, #text:sub(1, size):match("[^\n]*$"));
	end
	local found = answers(text, open, 3);
	same(found[1][1] .. found[1][2], "2granted");
	same(found[2][1] .. found[2][2], "30denied");
	same(found[3][1] .. found[3][2], "1unavailable");
end

function both.the_protocol_knows_utf8_as_prosody_does()
	package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath;
	package.loaded["util.encodings"] = nil;
	local ok, encodings = pcall(require, "util.encodings");
	if not ok then return; end -- it is there for one Lua
	local valid_utf8 = protocol().valid_utf8;
	local bytes = { 0, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED,
		0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF };
	local function try(text, more)
		same(encodings.utf8.valid(text), valid_utf8(text));
		for _, byte in ipairs(more > 0 and bytes or {}) do try(text .. string.char(byte), more - 1); end
	end
	try("", 4);
end

-- The greeting: nothing is asked before it is over.
function scenarios.tagged.nothing_is_asked_before_the_daemon_has_answered_the_hello()
	stub.mode = "silent";
	local one = tools.login();
	local socket = stub.sockets[1];
	same(socket.sent, tools.TAGGED);
	socket:says("1");
	same(socket.sent, tools.TAGGED);
	socket:says("\n");
	same(socket.sent, tools.TAGGED .. "1 - auth:alice:example.com:secret\n");
	socket:says("1 1\n");
	same(one.result[1], "success");
end

local no_greetings = {
	"2\n", "3\n", "x", "\n", "", "11", "1 \n", "1\r\n", "1\n1\n", "1\n1 1\n", "yes\n", "\0\2\0\1", "0\n0\n",
};
for number, said in ipairs(no_greetings) do
	scenarios.tagged["what_is_no_greeting_" .. number] = function ()
		stub.mode = "silent";
		local one = tools.login();
		stub.sockets[1]:says(said);
		if said == "" then stub.pass(5.1); end
		same(stub.sockets[1].closed, true);
		stub.pass(10);
		same(tools.unavailable(one), true);
		for _, socket in ipairs(stub.sockets) do same(socket.sent, tools.TAGGED); end
	end
end

function scenarios.plain.an_older_daemon_is_asked_in_order()
	local one = tools.login("a:b", { ip = "192.0.2.7" });
	same(stub.sockets[1].sent, tools.TAGGED);
	same(stub.sockets[1].closed, true);
	same(stub.sockets[2].sent, tools.ANSWERS .. "auth:alice:example.com:a:b\n");
	stub.sockets[2]:says("1\n");
	same(one.result[1], "success");
	same(#stub.logged, 1);
	stub.sockets[2]:ends();
	stub.mode = "tagged"; -- it was upgraded
	local two = tools.login();
	same(stub.sockets[3].sent, tools.TAGGED .. "2 - auth:alice:example.com:secret\n");
	tools.last():answers("1");
	same(two.result[1], "success");
end

function scenarios.plain.the_oldest_daemon_has_two_answers()
	stub.two = true;
	local one, two = tools.login(), tools.login();
	tools.last():says("1\n0\n");
	same(one.result[1], "success");
	same(two.result[2], "not-authorized");
	local three = tools.login();
	tools.last():says("2\n"); -- which it does not know
	same(tools.unavailable(three), true);
	same(tools.last().closed, true);
end
