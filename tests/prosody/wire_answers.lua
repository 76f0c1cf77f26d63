-- What is sent, and what its answers mean. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, asked, auth, login, granted, PLAIN =
	tools.same, tools.last, tools.asked, tools.auth, tools.login, tools.granted, tools.PLAIN;
local both = scenarios.both;

function both.one_connection_and_each_its_own_answer()
	local one, two, three = auth("one"), auth("two", "a:b"), stub.run(stub.provider.user_exists, "three");
	same(#stub.links, 1);
	same(last().path, "/run/extauth-bridge/auth.sock");
	same(asked(), "auth:one:example.com:secret\nauth:two:example.com:a:b\nisuser:three:example.com");
	last():answers("0");
	same(granted(one), false);
	same(two.result, nil);
	last():answers("1", "1");
	same(granted(two), true);
	same(granted(three), true);
	local four = auth("four");
	last():answers("0");
	same(granted(four), false);
	same(#stub.links, 1);
end

function scenarios.tagged.answers_in_any_order()
	local one, two, three = auth("one"), auth("two"), auth("three");
	last():says("3 1\n1 0\n");
	same(granted(one), false);
	same(two.result, nil);
	same(granted(three), true);
	last():says("2 1\n");
	same(granted(two), true);
end

function scenarios.tagged.a_tag_is_used_once()
	for number = 1, 300 do
		local one = auth("one");
		last():says(number .. " 1\n");
		same(granted(one), true);
	end
	same(#stub.sockets, 1);
end

function scenarios.tagged.the_address_of_the_client_goes_along()
	for session, address in pairs({ ["192.0.2.7"] = "192.0.2.7", ["2001:db8::5"] = "2001:db8::5", ["unix"] = "-",
		["::1 auth:bob:h:x"] = "-", ["1.2.3.4\n"] = "-" }) do
		login("secret", { ip = session });
		same(last().addresses[#last().addresses], address);
	end
	login();
	auth("one");
	stub.run(stub.provider.user_exists, "one");
	for number = #last().addresses - 2, #last().addresses do same(last().addresses[number], "-"); end
	local handler = stub.provider.get_sasl_handler({ ip = "192.0.2.7" }):clean_clone():clean_clone();
	stub.run(function () handler:process(PLAIN .. "secret"); end);
	same(last().addresses[#last().addresses], "192.0.2.7");
end

function both.every_byte_alone()
	local one, two = auth("one"), auth("two");
	for byte in last():text_of("0", "1"):gmatch(".") do last():says(byte); end
	same(granted(one), false);
	same(granted(two), true);
end

function both.every_command()
	stub.options.extauth_bridge_commands = { "auth", "isuser", "setpass", "tryregister", "removeuser" };
	stub.load(arg[1]);
	local p = stub.provider;
	local tasks = { stub.run(p.set_password, "u", "new"), stub.run(p.create_user, "v", "first"),
		stub.run(p.delete_user, "w") };
	same(asked(), "setpass:u:example.com:new\ntryregister:v:example.com:first\nremoveuser:w:example.com");
	last():answers("1", "1", "1");
	for _, task in ipairs(tasks) do same(granted(task), true); end
end

function both.what_is_not_allowed_is_not_asked()
	for _, task in ipairs({ stub.run(stub.provider.create_user, "u", "p"), stub.run(stub.provider.delete_user, "u") }) do
		same(granted(task), false);
		assert(task.result[2]:find("extauth_bridge_commands", 1, true));
	end
	same(#stub.sockets, 0);
end

function both.what_a_line_cannot_carry_is_not_asked()
	local bad = { "x\nsetpass:bob:example.com:pwned", "x\r", "x\0y", "\1", "\127", "\194\133", "", "\255", "\192\128",
		"\237\160\128", "\244\144\128\128", "\224\159\191", "\240\143\191\191", "\226\130", "x\128", ("x"):rep(32767) };
	for _, secret in ipairs(bad) do
		same(granted(auth("alice", secret)), false);
		same(granted(stub.run(stub.provider.set_password, "alice", secret)), false);
		same((login(secret)).result[1], "failure");
	end
	for _, user in ipairs({ "a:b", "", "a\n", "\194\159", "\255" }) do
		same(granted(auth(user)), false);
		same(granted(stub.run(stub.provider.user_exists, user)), false);
	end
	same(granted(stub.run(stub.provider.set_password, "alice", nil)), false);
	same(#stub.sockets, 0);
	for _, line in ipairs(stub.logged) do assert(not line:find("pwned"), "a secret in the log"); end
end

function both.what_a_line_can_carry_is_asked()
	stub.options.extauth_bridge_saslprep = false;
	stub.load(arg[1]);
	local longest = ("x"):rep(32767 - #"auth:alice:example.com:");
	local good = { ":", "::a:", " ", "\194\160", "\195\169", "\224\160\128", "\237\159\191", "\240\144\128\128",
		"\244\143\191\191", "\226\130\172", longest };
	local expected = {};
	for _, secret in ipairs(good) do
		auth("alice", secret);
		table.insert(expected, "auth:alice:example.com:" .. secret);
	end
	same(asked(), table.concat(expected, "\n"));
end

-- A part of it, cut off by a close, could be a password that nobody chose.
function both.what_may_not_fit_into_the_socket_whole_waits()
	stub.options.extauth_bridge_saslprep = false;
	stub.load(arg[1]);
	for number = 1, 90 do auth("u" .. number); end
	local change = stub.run(stub.provider.set_password, "alice", ("x"):rep(20000));
	same(#last().lines, 90);
	local answered = 0;
	while not change.result do
		last():answers("1");
		answered = answered + 1;
		if #last().lines == 91 then break; end
	end
	assert(answered > 0 and answered < 90, answered);
	for _ = answered + 1, 91 do last():answers("1"); end
	same(granted(change), true);
end

function both.the_third_answer_is_a_temporary_failure()
	local one, two, handler = login(), login();
	last():answers("2", "0");
	same(one.result[2], "temporary-auth-failure");
	same(two.result[2], "not-authorized");
	local again = stub.run(function () return handler:process(PLAIN .. "secret"); end);
	last():answers("1");
	same(again.result[1], "success");
end

function both.so_it_is_after_a_first_attempt()
	local handler = stub.provider.get_sasl_handler():clean_clone():clean_clone();
	local task = stub.run(function () return handler:process(PLAIN .. "secret"); end);
	last():answers("2");
	same(task.result[2], "temporary-auth-failure");
end

local function doubt(data)
	local one, two = login(), login();
	last():says(data);
	same(last().closed, true);
	for _, task in ipairs({ one, two }) do same(task.result[2], "temporary-auth-failure"); end
	stub.pass(2);
	local three = auth("three");
	same(#stub.links, 2);
	same(asked(), "auth:three:example.com:secret");
	last():answers("1");
	same(granted(three), true);
end

local doubtful = {
	plain = { "x", "1\n1\n1\n", "1\n1\n1", "1 \n", "1\r\n", "11\n", "\n", "11", "yes\n", "1\n3\n", "\0\2\0\1",
		("1\n"):rep(5000), "1 1\n" };
	tagged = { "x", "1 1\n2 1\n3 1\n", "1 1\n2 1\n3", "1 1 \n", "1  1\n", " 1 1\n", "1 1\r\n", "1 11\n", "1 11", "\n",
		"1\n", "1 yes\n", "1 1\n2 3\n", "1 1\n1 1\n", "1 1\n1 ", "3 1\n", "0 1\n", "01 1\n", "a 1\n", "1a 1\n", "1 1\n\n",
		"\0\2\0\1", ("1 1\n"):rep(5000), ("1"):rep(17), ("1"):rep(10000), "1 1\n2 1\n1", "1 \n", "1 - 1\n" };
};
for mode, list in pairs(doubtful) do
	for number, data in ipairs(list) do
		scenarios[mode]["in_doubt_nothing_counts_" .. number] = function ()
			doubt(data);
		end
	end
end

function both.an_answer_to_nobody_ends_the_connection()
	auth("one");
	last():answers("1");
	last():answers("1");
	same(last().closed, true);
	local two = auth("two");
	same(#stub.links, 2);
	same(two.result, nil);
end

function scenarios.tagged.so_does_a_second_answer()
	local one, two = auth("one"), auth("two");
	last():says("1 0\n");
	last():says("1 1\n");
	same(last().closed, true);
	same(granted(one), false);
	same(granted(two), false);
end

function both.an_answer_to_nobody_that_was_not_noticed_yet()
	auth("one");
	last():answers("1");
	last().incoming = last():text_of("1");
	local two = auth("two");
	stub.pass(1);
	same(stub.links[1].closed, true);
	same(#stub.links, 2);
	same(two.result, nil);
	last():answers("0");
	same(granted(two), false);
end

-- Several hosts of one server.
function both.hosts_share_the_connection()
	local other = stub.add_host("other.example");
	local one, two = auth("one"), stub.run(other.provider.test_password, "two", "secret");
	same(#stub.links, 1);
	same(asked(), "auth:one:example.com:secret\nauth:two:other.example:secret");
	last():answers("1", "0");
	same(granted(one), true);
	same(granted(two), false);
end

function both.a_host_that_goes_takes_only_its_own_questions_along()
	local other = stub.add_host("other.example");
	local one, two = auth("one"), stub.run(other.provider.test_password, "two", "secret");
	other.api.unload();
	same(granted(two), false);
	same(last().closed, nil);
	last():answers("1", "1");
	same(granted(one), true);
	same(#stub.links, 1);
	stub.module.unload();
	stub.pass(0);
	same(last().closed, true);
	same(#stub.logged, tools.tagged and 0 or 1); -- that the daemon is older
	stub.add_host("example.com");
	stub.run(stub.hosts["example.com"].provider.test_password, "three", "secret");
	same(#stub.links, 2);
end

function both.another_socket_is_another_connection()
	auth("one");
	stub.options.extauth_bridge_socket = "/elsewhere";
	local other = stub.add_host("other.example");
	stub.run(other.provider.test_password, "two", "secret");
	same(#stub.links, 2);
	same(last().path, "/elsewhere");
	same(asked(), "auth:two:other.example:secret");
end
