-- What goes over the wire to extauth-bridge's daemon, and what may come back. Nothing of Prosody is needed here, and
-- nothing is read or written: `lua5.2 protocol.lib.lua` understands it as well as Prosody does.
--
--   hello      extauth-bridge:tagged:1       or, to an older daemon, extauth-bridge:answers:3
--   answer     1 yes, 0 no: then only plain lines are understood
--   question   TAG ADDRESS COMMAND:USER:HOST[:SECRET]     without TAG and ADDRESS where the hello was not `tagged`
--   answer     TAG VERDICT, in any order                  or only VERDICT, in the order of the questions
--
-- Whatever is not exactly that makes the connection worthless: no answer in the same piece of data counts.

local protocol = {
	TAGGED = "extauth-bridge:tagged:1\n";
	ANSWERS = "extauth-bridge:answers:3\n";
};

local VERDICTS = { ["0"] = "denied", ["1"] = "granted", ["2"] = "unavailable" };
local MAX_LINE = 32767; -- bytes, the greatest `max_line` of any daemon; what is too long for this one it answers itself
local TAG_MAX = 16; -- digits
local NO_ADDRESS = "-";

-- As strict as Prosody's util.encodings: no surrogates, nothing overlong, nothing beyond U+10FFFF.
function protocol.valid_utf8(text)
	local at = text:find("[\128-\255]");
	while at do
		local lead, second = text:byte(at, at + 1);
		local size = lead >= 0xF5 and 0 or lead >= 0xF0 and 4 or lead >= 0xE0 and 3 or lead >= 0xC2 and 2 or 0;
		local least = lead == 0xE0 and 0xA0 or lead == 0xF0 and 0x90 or 0x80;
		local most = lead == 0xED and 0x9F or lead == 0xF4 and 0x8F or 0xBF;
		if size == 0 or not second or second < least or second > most then return false; end
		if not text:find("^" .. ("[\128-\191]"):rep(size - 2), at + 2) then return false; end
		at = text:find("[\128-\255]", at + size);
	end
	return true;
end

-- The question of a line, or nil and the reason why there is none. The secret may hold colons; user and host may not.
function protocol.compose(command, user, host, secret)
	local fields = { command, user, host, secret };
	for number = 2, secret == nil and 3 or 4 do
		local field = fields[number];
		if type(field) ~= "string" or field == "" then return nil, "empty field"; end
		if field:find("[%z\1-\31\127]") or field:find("\194[\128-\159]") then return nil, "control character"; end
		if not protocol.valid_utf8(field) then return nil, "not valid UTF-8"; end
		if number < 4 and field:find(":", 1, true) then return nil, "colon in a name"; end
	end
	local line = table.concat(fields, ":");
	if #line > MAX_LINE then return nil, "too long"; end
	return line;
end

local function is_ipv4(text)
	local numbers = { text:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") };
	for _, number in ipairs(numbers) do
		if #number > 3 or tonumber(number) > 255 or number:find("^0.") then return false; end
	end
	return #numbers == 4;
end

local function is_ipv6(text)
	local head, tail = text:match("^(.*:)([^:]*%.[^:]*)$");
	if head then
		if not is_ipv4(tail) then return false; end
		text = head .. "0:0";
	end
	local front, gap, back = text:match("^(.-)(::)(.*)$");
	local groups = 0;
	for _, part in ipairs({ front or text, back or "" }) do
		if part ~= "" then
			for group in (part .. ":"):gmatch("([^:]*):") do
				if not group:find("^%x%x?%x?%x?$") then return false; end
				groups = groups + 1;
			end
		end
	end
	if gap then return groups < 8; end
	return groups == 8;
end

-- The address as the daemon takes it: it ends the connection over any that is none.
function protocol.address(text)
	text = type(text) == "string" and text:match("^([^%%]*)") or "";
	return (is_ipv4(text) or is_ipv6(text)) and text or NO_ADDRESS;
end

function protocol.tagged(tag, address, line)
	return tag .. " " .. address .. " " .. line .. "\n";
end

function protocol.plain(line)
	return line .. "\n";
end

-- The answer to a hello: "yes", "no", "more" (it is not complete), or nil and why it is none.
function protocol.greeting(heard)
	local digit = heard:match("^([01])\n?$");
	if not digit then return nil, "said what is no answer"; end
	if #heard == 1 then return "more"; end
	return digit == "1" and "yes" or "no";
end

-- What the daemon said, as far as it is complete.
--   heard   all since the last complete answer
--   open    the tags of the `count` unanswered questions
-- Returns { { tag, verdict }, … } and the part of an answer behind them, or nil and why none of it can be trusted.
function protocol.tagged_answers(heard, open, count)
	local answers, seen, at = {}, {}, 1;
	while true do
		local first, last, tag, digit = heard:find("^(%d+) ([012])\n", at);
		if not first then break; end
		if not open[tag] or seen[tag] then return nil, "said what nobody asked for"; end
		seen[tag] = true;
		answers[#answers + 1] = { tag, VERDICTS[digit] };
		at = last + 1;
	end
	local part = heard:sub(at);
	if part == "" then return answers, part; end
	local tag, space = part:match("^(%d+)( ?)[012]?$");
	if not tag or #tag > TAG_MAX or (space == "" and #part > #tag) then return nil, "said what is no answer"; end
	if #answers == count or space == " " and (not open[tag] or seen[tag]) then
		return nil, "said what nobody asked for";
	end
	return answers, part;
end

-- The same where answers come in the order of the questions.
--   tags    of the unanswered questions, in their order
--   third   the daemon knows the answer 2
function protocol.plain_answers(heard, tags, third)
	local digit, answers = third and "^([012])" or "^([01])", {};
	local at = 1;
	while true do
		local first, last, verdict = heard:find(digit .. "\n", at);
		if not first then break; end
		answers[#answers + 1] = { tags[#answers + 1], VERDICTS[verdict] };
		at = last + 1;
	end
	local part = heard:sub(at);
	if part ~= "" and not part:find(digit .. "$") then return nil, "said what is no answer"; end
	if #answers + #part > #tags then return nil, "said what nobody asked for"; end
	return answers, part;
end

return protocol;
