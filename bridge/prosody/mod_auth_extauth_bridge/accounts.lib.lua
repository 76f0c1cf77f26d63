-- What Prosody wants to know about an account besides its password: when that was changed, and whether tokens that
-- were handed out are still to be believed.
--
-- Whether an account is disabled only the programs know: a login of it fails. So every account counts as enabled here.

local FRESH = 2; -- seconds: one login by a token may ask more than once

local function new(host, existence, store, check_tokens)
	local accounts = {};

	-- The password was changed through us: tokens from before expire.
	function accounts.changed(user)
		local account = store:get(user) or {};
		account.password_updated = os.time();
		store:set(user, account);
	end

	-- Whether a token of this user may be believed: "granted", or why not.
	function accounts.check(user)
		if not check_tokens then return "granted"; end
		return existence:ask_within(user, FRESH);
	end

	function accounts.info(user)
		local account = store:get(user) or {};
		if accounts.check(user) == "denied" then
			return { enabled = false, password_updated = os.time() + 1 }; -- all of his tokens are from before
		end
		return { enabled = true, password_updated = account.password_updated };
	end

	-- What tests tokens that Prosody's mod_tokenauth has handed out, if that is loaded.
	function accounts.token_tester(provider)
		local tokenauth = prosody.hosts[host].modules.tokenauth;
		local new_tester = tokenauth and tokenauth.sasl_handler;
		return new_tester and new_tester(provider, "oauth2");
	end

	return accounts;
end

return new;
