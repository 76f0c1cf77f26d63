-- Tokens that Prosody itself hands out (XEP-0484, FAST) are not believed of a user who does not exist any more. The
-- community's mod_sasl2_fast asks nobody; so we ask first.

local base64 = require "util.encodings".base64;
local st = require "util.stanza";

local SASL, SASL2, FAST = "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2", "urn:xmpp:fast:0";
local FIRST = 150; -- before mod_sasl2_fast, which is at 100

local function condition(accounts, auth)
	local message = base64.decode(auth:get_child_text("initial-response") or "");
	local user = message and message:match("^([^%z]+)%z");
	if not user then return "malformed-request"; end
	local verdict = accounts.check(user);
	if verdict == "granted" then return nil; end
	return verdict == "unavailable" and "temporary-auth-failure" or "not-authorized";
end

local function hook(module, accounts)
	module:hook("stanza/" .. SASL2 .. ":authenticate", function (event)
		local session, auth = event.origin, event.stanza;
		if session.type ~= "c2s_unauthed" or not auth:get_child("fast", FAST) then return; end
		local why_not = condition(accounts, auth);
		if not why_not then return; end
		session.send(st.stanza("failure", { xmlns = SASL2 }):tag(why_not, { xmlns = SASL }):up());
		return true;
	end, FIRST);
end

return hook;
