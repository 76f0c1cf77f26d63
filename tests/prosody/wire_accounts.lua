-- Passwords as they are sent, and accounts as Prosody wants to make and know them. See wire.lua.

local scenarios, stub, tools = ...;
local same, last, asked, granted = tools.same, tools.last, tools.asked, tools.granted;
local both = scenarios.both;

local function load_with(options)
	stub.options = options;
	options.extauth_bridge_commands = { "auth", "isuser", "setpass", "tryregister", "removeuser" };
	stub.load(arg[1]);
end

local RAW, PREPARED = "u\204\136ber\194\160x\194\173", "\195\188ber x";

for setting, sent in pairs({ [true] = PREPARED, [false] = RAW }) do
	both["every_way_to_a_password_saslprep_" .. tostring(setting)] = function ()
		load_with({ extauth_bridge_saslprep = setting });
		local p = stub.provider;
		tools.login(RAW);
		stub.run(p.test_password, "alice", RAW);
		stub.run(p.set_password, "alice", RAW);
		stub.run(p.create_user, "alice", RAW);
		local expected = {};
		for _, command in ipairs({ "auth", "auth", "setpass", "tryregister" }) do
			table.insert(expected, command .. ":alice:example.com:" .. sent);
		end
		same(asked(), table.concat(expected, "\n"));
		last():answers("1", "1", "1", "1");
		stub.run(p.create_user, "nora");
		last():answers("0");
		stub.run(p.set_password, "nora", RAW);
		same(last().lines[#last().lines], "tryregister:nora:example.com:" .. sent);
	end
end

function both.a_password_that_cannot_be_prepared_is_not_sent()
	for _, secret in ipairs({ ("x"):rep(1024), "\194\173", "\1" }) do
		same((tools.login(secret)).result[2], "malformed-request");
		same(granted(stub.run(stub.provider.test_password, "alice", secret)), false);
		same(granted(stub.run(stub.provider.set_password, "alice", secret)), false);
	end
	same(#stub.sockets, 0);
end

function both.raw_it_may_be_long_but_still_no_line_of_its_own()
	load_with({ extauth_bridge_saslprep = false });
	for _, secret in ipairs({ "x\nsetpass:bob:example.com:y", "\1", "\194\133", "\255", "", ("x"):rep(33000) }) do
		same((tools.login(secret)).result[1], "failure");
		same(granted(stub.run(stub.provider.test_password, "alice", secret)), false);
	end
	same((tools.login("x\0y")).result[2], "malformed-request");
	same(#stub.sockets, 0);
	local long = tools.login(("x"):rep(8000));
	last():answers("1");
	same(long.result[1], "success");
end

function both.the_name_is_always_prepared()
	load_with({ extauth_bridge_saslprep = false });
	local handler = stub.provider.get_sasl_handler();
	stub.run(function () return handler:process("\0Al\194\173Ice\0Secret"); end);
	same(asked(), "auth:alice:example.com:Secret");
	same(handler.username, "alice");
end

-- As Prosody 13 does it.
function both.an_account_is_made_with_its_password()
	load_with({});
	local p = stub.provider;
	local made = stub.run(p.create_user, "nora", nil);
	same(asked(), "isuser:nora:example.com");
	last():answers("0");
	same(granted(made), true);
	local set = stub.run(p.set_password, "nora", "secret");
	same(last().lines[2], "tryregister:nora:example.com:secret");
	last():answers("1");
	same(granted(set), true);
	same(granted(stub.run(p.user_exists, "nora")), true);
	stub.run(p.set_password, "nora", "other");
	same(last().lines[3], "setpass:nora:example.com:other");
	same(#last().lines, 3);
end

function both.no_account_is_made_anew()
	load_with({});
	for answer, words in pairs({ ["1"] = "already", ["2"] = "not available" }) do
		local made = stub.run(stub.provider.create_user, "bob", nil);
		last():answers(answer);
		same(granted(made), false);
		assert(made.result[2]:find(words, 1, true));
		stub.pass(400);
	end
	stub.run(stub.provider.set_password, "bob", "secret");
	same(asked():match("[^\n]*$"), "setpass:bob:example.com:secret");
end

function both.an_account_that_gets_no_password_is_none()
	load_with({});
	local p = stub.provider;
	stub.run(p.create_user, "nora", nil);
	last():answers("0");
	stub.pass(61);
	stub.run(p.set_password, "nora", "secret");
	same(last().lines[#last().lines], "setpass:nora:example.com:secret");
	last():answers("0");
	stub.run(p.create_user, "tom", nil);
	last():answers("0");
	same(granted(stub.run(p.delete_user, "tom")), true);
	stub.run(p.set_password, "tom", "secret");
	same(last().lines[#last().lines], "setpass:tom:example.com:secret");
end

-- As invitations that reset a password do it, and `prosodyctl passwd` before Prosody 13.
function both.who_makes_an_account_that_he_has_seen_changes_its_password()
	load_with({});
	local p = stub.provider;
	local function calls(seen, user)
		local task = stub.run(function ()
			p.user_exists(seen);
			return p.create_user(user, "secret");
		end);
		return task, function () return last().lines[#last().lines]; end;
	end
	for answer, command in pairs({ ["1"] = "setpass", ["0"] = "tryregister", ["2"] = "tryregister" }) do
		local task, asked_last = calls("u" .. answer, "u" .. answer);
		last():answers(answer);
		same(asked_last(), ("%s:u%s:example.com:secret"):format(command, answer));
		last():answers("1");
		same(granted(task), true);
	end
	stub.run(p.user_exists, "bob");
	last():answers("1");
	local _, asked_last = calls("bob", "alice");
	same(asked_last(), "tryregister:alice:example.com:secret"); -- seen was another
	last():answers("1");
	stub.run(p.create_user, "bob", "secret");
	same(asked_last(), "tryregister:bob:example.com:secret"); -- seen by another
	last():answers("1");
	stub.run(function ()
		p.user_exists("bob");
		p.create_user("bob", "one");
		p.create_user("bob", "two");
	end);
	last():answers("1");
	last():answers("1");
	same(asked_last(), "tryregister:bob:example.com:two"); -- seen once
	local later;
	stub.run(function ()
		p.user_exists("bob");
		later = coroutine.running();
		coroutine.yield();
		p.create_user("bob", "three");
	end);
	stub.pass(0);
	coroutine.resume(later);
	same(asked_last(), "tryregister:bob:example.com:three"); -- seen before something else happened
end

function both.none_is_made_where_that_is_not_allowed()
	local made = stub.run(stub.provider.create_user, "nora", nil);
	same(granted(made), false);
	assert(made.result[2]:find("tryregister", 1, true));
	same(#stub.sockets, 0);
end

function both.accounts_are_enabled_and_cannot_be_disabled_here()
	same(stub.run(stub.provider.is_enabled, "alice").result[1], true);
	same(stub.run(stub.provider.get_account_info, "alice").result[1].enabled, true);
	local done = stub.run(stub.provider.disable, "alice");
	same(done.result[1], nil);
	assert(done.result[2]:find("disabled"));
	same(stub.provider.enable, nil); -- Prosody has words of its own for what it need not have
	same(#stub.sockets, 0);
end

function both.who_lists_all_users_gets_none_and_is_told()
	for _ in stub.provider.users() do error("a user"); end
	same(#stub.logged, 1);
end

function both.tokens_from_before_a_change_expire()
	load_with({});
	local p = stub.provider;
	local function updated(user) return stub.run(p.get_account_info, user).result[1].password_updated; end
	same(updated("alice"), nil);
	stub.run(p.set_password, "alice", "a");
	stub.run(p.set_password, "bob", "b");
	stub.run(p.create_user, "carol", "c");
	last():answers("1", "0", "1");
	assert(os.time() - updated("alice") < 10);
	same(updated("bob"), nil);
	assert(os.time() - updated("carol") < 10);
end

function both.before_a_token_is_believed_somebody_is_asked_if_so_configured()
	load_with({ extauth_bridge_check_tokens = true });
	local p = stub.provider;
	tools.auth("alice");
	last():answers("1");
	stub.pass(3);
	for answer, result in pairs({ ["1"] = true, ["0"] = false, ["2"] = false }) do
		local enabled = stub.run(p.is_enabled, "alice"); -- past what is remembered
		last():answers(answer);
		same(granted(enabled), result);
		local info = stub.run(p.get_account_info, "alice"); -- for the same login
		if not info.result then last():answers(answer); end
		same(info.result[1].enabled, answer ~= "0");
		if answer == "0" then assert(info.result[1].password_updated > os.time()); end
		stub.pass(3);
	end
end

local function bearer(address, token)
	local handler = stub.provider.get_sasl_handler();
	handler.selected = "OAUTHBEARER";
	local message = ("n,a=%s,\1auth=Bearer %s\1\1"):format(address, token);
	return stub.run(function () return handler:process(message); end), handler;
end

function both.a_bearers_token_is_what_the_programs_get_as_the_password()
	same(stub.provider.get_sasl_handler().profile.oauthbearer, nil);
	load_with({ extauth_bridge_oauthbearer = true });
	for answer, status in pairs({ ["1"] = "success", ["0"] = "challenge", ["2"] = "failure" }) do
		local task, handler = bearer("alice@example.com", "to:ken");
		same(asked():match("[^\n]*$"), "auth:alice:example.com:to:ken");
		last():answers(answer);
		same(task.result[1], status);
		same(handler.username, answer == "1" and "alice" or nil);
	end
	local before = #last().lines;
	same(bearer("alice@other.example", "token").result[1], "challenge");
	same(bearer("", "token").result[1], "challenge");
	same(bearer("alice@example.com", "a\nb").result[1], "challenge");
	same(#last().lines, before);
end

function both.a_wrong_option_is_named_and_lets_everybody_in_who_could_log_in_before()
	for name, values in pairs({
		extauth_bridge_timeout = { "7s", "5", 0, -1, 1e9, true, {} };
		extauth_bridge_remember = { "300", -1, false };
		extauth_bridge_commands = { "auth", { "auth", "setpas" }, { "auth", "user" }, { "auth", 1 } };
		extauth_bridge_saslprep = { "false", 0 };
		extauth_bridge_oauthbearer = { "yes", 1 };
		extauth_bridge_check_tokens = { "no" };
	}) do
		for _, value in ipairs(values) do
			stub.options, stub.logged = { [name] = value }, {};
			stub.load(arg[1]);
			same(#stub.logged, 1);
			assert(stub.logged[1]:find(name, 1, true));
			local one = tools.login();
			last():answers("1");
			same(one.result[1], "success");
		end
	end
end

function both.a_socket_that_is_none_is_named_and_no_other_is_asked_instead()
	for _, value in ipairs({ "relative.sock", "", ("/"):rep(108), 7, true }) do
		stub.options, stub.logged = { extauth_bridge_socket = value }, {};
		stub.load(arg[1]);
		assert(stub.logged[1]:find("extauth_bridge_socket", 1, true));
		tools.login();
		same(last().path, tostring(value));
	end
end
