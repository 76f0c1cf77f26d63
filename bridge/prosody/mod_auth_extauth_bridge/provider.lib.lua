-- What Prosody asks of an authentication provider, as questions for the daemon. A query that cannot be asked is never
-- granted.

local jid = require "util.jid";
local monotonic = require "util.time".monotonic or require "util.time".now;
local new_sasl = require "util.sasl".new;
local timer = require "util.timer";

local UNAVAILABLE = "The authentication service is not available at the moment";
local REFUSED = "Refused by the authentication service";
local SOON = 60; -- seconds: an account that Prosody makes gets its password right after that

-- true, or nil and why not.
local function said(verdict, refusal)
	if verdict == "granted" then return true; end
	return nil, verdict == "unavailable" and UNAVAILABLE or refusal or REFUSED;
end

--   host        { name, settings, questions, existence, passwords, accounts, log }
local function new(host)
	local questions, existence, passwords, accounts = host.questions, host.existence, host.passwords, host.accounts;
	local to_be_made = {}; -- users without a password yet, and until when they may get one
	local found, fades = {}, false; -- users whom a caller has found to exist in this turn of the main loop
	local provider = {};

	-- A question whose "yes" means that the user exists.
	local function ask(command, user, secret, address)
		if type(user) ~= "string" then return "refused", "no user"; end
		if not secret then return "refused", "no password that can be sent"; end
		local claim = existence:claim(user);
		local verdict, refusal = questions:ask(command, user, secret, address);
		existence:settle(user, claim, verdict == "granted");
		return verdict, refusal;
	end

	local function register(user, password)
		existence:forget(user);
		local verdict, refusal = ask("tryregister", user, passwords.secret(password));
		existence:forget(user); -- somebody may have asked meanwhile
		if verdict == "granted" then
			existence:remember(user, true);
			accounts.changed(user);
		end
		return verdict, refusal;
	end

	function provider.test_password(user, password)
		return said(ask("auth", user, passwords.secret(password)));
	end

	-- A caller is its coroutine; Lua 5.1's main program has none.
	local function note(user)
		found[coroutine.running() or "main"] = user;
		if fades then return; end
		fades = true;
		timer.add_task(0, function () found, fades = {}, false; end);
	end

	function provider.user_exists(user)
		local verdict, refusal = existence:ask(user);
		note(verdict == "granted" and user or nil);
		return said(verdict, refusal);
	end

	-- Whether our caller makes the account though it has just seen that there is one: invitations that reset a password
	-- do that, and `prosodyctl passwd` before Prosody 13. A name that somebody else was quicker to register is none such.
	local function is_change(user)
		local seen = found[coroutine.running() or "main"];
		note(nil);
		return seen == user;
	end

	function provider.set_password(user, password)
		local until_when = to_be_made[user or ""];
		if until_when and until_when > monotonic() then
			to_be_made[user] = nil;
			return said(register(user, password));
		end
		local verdict, refusal = ask("setpass", user, passwords.secret(password));
		if verdict == "granted" then accounts.changed(user); end
		return said(verdict, refusal);
	end

	-- Prosody 13 makes an account without a password, gives it a role, and sets the password then: only with that can
	-- the daemon be asked.
	local function announce(user)
		if not host.settings.commands.tryregister then return questions:ask("tryregister", user, "-"); end
		local verdict = existence:ask_anew(user);
		if verdict == "unavailable" then return verdict; end
		if verdict == "granted" then return "refused", "There is such a user already"; end
		local now = monotonic();
		for name, until_when in pairs(to_be_made) do
			if until_when <= now then to_be_made[name] = nil; end
		end
		to_be_made[user] = now + SOON;
		return "granted";
	end

	function provider.create_user(user, password)
		if type(user) ~= "string" then return nil, "no user"; end
		if password == nil then return said(announce(user)); end
		if is_change(user) then return provider.set_password(user, password); end
		return said(register(user, password));
	end

	function provider.delete_user(user)
		if type(user) ~= "string" then return nil, "no user"; end
		if to_be_made[user] then
			to_be_made[user] = nil;
			return true;
		end
		existence:forget(user);
		local verdict, refusal = questions:ask("removeuser", user);
		existence:forget(user); -- a login may have been granted meanwhile
		return said(verdict, refusal);
	end

	function provider.users()
		host.log("warn", "No program can list its users: whatever is done for all of them is done for none");
		return function () end;
	end

	-- Prosody 13.
	provider.get_account_info = accounts.info;

	function provider.is_enabled(user)
		return said(accounts.check(user));
	end

	function provider.disable()
		return nil, "Accounts can only be disabled where the programs of the authentication service look them up";
	end

	-- SASL -------------------------------------------------------------------------------------------------------

	local function plain(self, session, message)
		local user, secret = passwords.plain(message);
		if not user then return "failure", "malformed-request", "Invalid username or password."; end
		self.username = user;
		local verdict = ask("auth", user, secret, session and session.ip);
		if verdict == "granted" then return "success"; end
		if verdict == "unavailable" then return "failure", "temporary-auth-failure", UNAVAILABLE; end
		return "failure", "not-authorized", "Unable to authorize you with the authentication credentials you've sent.";
	end

	-- OAUTHBEARER: the token is what the programs get as the password.
	local function bearer(self, session, token, authorization)
		local address = (authorization or ""):gsub("=2C", ","):gsub("=3D", "=");
		local user, domain = jid.prepped_split(address);
		if not user or domain ~= host.name or not token then return nil, nil; end
		local verdict = ask("auth", user, token, session and session.ip);
		self.extauth_bridge_unavailable = verdict == "unavailable";
		return verdict == "granted" and user or nil, verdict == "granted" or nil;
	end

	function provider.get_sasl_handler(session)
		local profile = { plain_test = function () return false, true; end }; -- has PLAIN offered; see `process`
		if host.settings.oauthbearer then
			function profile.oauthbearer(self, token, _, authorization) return bearer(self, session, token, authorization); end
		else
			profile.oauthbearer = accounts.token_tester(provider);
		end
		local handler = new_sasl(host.name, profile);
		local process = handler.process;
		-- Prosody's PLAIN always prepares the password, and knows only right and wrong.
		function handler:process(message)
			if self.selected == "PLAIN" then return plain(self, session, message); end
			local status, condition, text = process(self, message);
			if status ~= "success" and self.extauth_bridge_unavailable then
				return "failure", "temporary-auth-failure", UNAVAILABLE;
			end
			return status, condition, text;
		end
		function handler.clean_clone() return provider.get_sasl_handler(session); end
		return handler;
	end

	return provider;
end

return new;
