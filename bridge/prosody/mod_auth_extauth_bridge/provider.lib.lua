-- What Prosody asks of an authentication provider, as questions for the daemon. A query that cannot be asked is never
-- granted.

local new_sasl = require "util.sasl".new;

local UNAVAILABLE = "The authentication service is not available at the moment";

local function new(host, questions)
	local provider = {};

	-- true, or nil and why not.
	local function ask_for(command, user, secret)
		local verdict, refusal = questions:ask(command, user, secret);
		if verdict == "granted" then return true; end
		return nil, verdict == "unavailable" and UNAVAILABLE or refusal or "Refused by the authentication service";
	end

	function provider.test_password(user, password) return ask_for("auth", user, password or ""); end
	function provider.user_exists(user) return ask_for("isuser", user); end
	function provider.set_password(user, password) return ask_for("setpass", user, password or ""); end
	function provider.create_user(user, password) return ask_for("tryregister", user, password or ""); end
	function provider.delete_user(user) return ask_for("removeuser", user); end

	-- SASL PLAIN knows only right and wrong; "unavailable" is reported past it.
	function provider.get_sasl_handler(session)
		local handler = new_sasl(host, {
			plain_test = function (self, user, password)
				local verdict = questions:ask("auth", user, password, session and session.ip);
				self.extauth_bridge_unavailable = verdict == "unavailable";
				return verdict == "granted", true;
			end;
		});
		local process = handler.process;
		function handler:process(message)
			local status, condition, text = process(self, message);
			if status == "failure" and self.extauth_bridge_unavailable then
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
