-- A password as the programs get it: prepared by SASLprep, as Prosody's own logins have it, or the client's bytes.
--
-- Every way by which a password reaches us goes through here, so that what was changed is what logs in.

local stringprep = require "util.encodings".stringprep;
local saslprep, nodeprep = stringprep.saslprep, stringprep.nodeprep;

local function new(prepare)
	local passwords = {};

	-- The secret to ask with, or nil if no program can be asked with this one.
	function passwords.secret(password)
		if type(password) ~= "string" then return nil; end
		if prepare then password = saslprep(password); end
		return password ~= "" and password or nil;
	end

	-- Take a SASL PLAIN message apart, as Prosody does it: user and secret, or nil. The name is always prepared.
	function passwords.plain(message)
		local name, password = (message or ""):match("^[^%z]*%z([^%z]+)%z([^%z]+)$");
		name = name and saslprep(name);
		name = name and nodeprep(name);
		local secret = passwords.secret(password);
		if not secret or not name or name == "" then return nil; end
		return name, secret;
	end

	return passwords;
end

return new;
