-- Which users of a host exist, as far as the daemon has said so lately.
--
--   * Remembered is a "yes" for `extauth_bridge_remember` seconds, and a "no" for at most 10; never a password, never
--     what `auth` was asked. A user whose login, change or registration was granted exists.
--   * What is asked about a user already is not asked again: all who ask get the same answer.
--   * Where nobody can wait, what is remembered is the answer.
--   * While the daemon is known to be down, the answer is "unavailable" at once.

local new_cache = require "util.cache".new;
local monotonic = require "util.time".monotonic or require "util.time".now;

local MOST = 10000; -- users, some 2 MB; the one that was asked about longest ago is forgotten for another
local NO = 10; -- seconds: an account that is made elsewhere must soon be found

local existence = {};
existence.__index = existence;

local function new(questions, remember)
	return setmetatable({
		questions = questions;
		remembered = new_cache(MOST); -- by user: { exists, since, ends }
		open = {}; -- queries, by user
		yes = remember, no = math.min(NO, remember); -- seconds
		claims = {}; -- by user, see `claim`
	}, existence);
end

function existence:remember(user, exists)
	local seconds = exists and self.yes or self.no;
	local now = monotonic();
	if seconds > 0 then self.remembered:set(user, { exists = exists, since = now, ends = now + seconds }); end
end

-- The account is made or removed: what is being asked about it is not to be relied on.
function existence:forget(user)
	self.remembered:set(user, nil);
	self.open[user], self.claims[user] = nil, nil;
end

-- Something is asked that will show whether the user exists, unless he is forgotten before the answer comes.
function existence:claim(user)
	local claim = self.claims[user] or { count = 0 };
	claim.count = claim.count + 1;
	self.claims[user] = claim;
	return claim;
end

-- The answer to that.
function existence:settle(user, claim, exists)
	claim.count = claim.count - 1;
	if self.claims[user] ~= claim then return; end
	if claim.count == 0 then self.claims[user] = nil; end
	if exists then self:remember(user, true); end
end

-- true, false, or nil if it is not remembered.
function existence:known(user)
	local entry = self.remembered:get(user);
	if not entry then return nil; end
	if entry.ends > monotonic() then return entry.exists; end
	self.remembered:set(user, nil);
	return nil;
end

-- Ask the daemon, past what is remembered. As `questions:ask`.
--   own   do not share the answer to a question that is open already
function existence:ask_anew(user, own)
	local query, connection = self.open[user], self.questions.connection;
	local shared = query and not query.verdict and not own;
	if shared and not self.questions.can_wait() then return "unavailable"; end
	if not shared then
		if connection:is_down() and not connection:may_be_tried() then return "unavailable"; end
		local verdict, refusal;
		query, verdict, refusal = self.questions:submit("isuser", user);
		if not query then return verdict, refusal; end
		self.open[user] = query;
	end
	local verdict = self.questions.wait_for(query);
	if query.verdict and self.open[user] == query then
		self.open[user] = nil;
		if verdict ~= "unavailable" then self:remember(user, verdict == "granted"); end
	end
	-- The time of who asked first is over, and ours not yet.
	if shared and verdict == "unavailable" then return self:ask_anew(user, true); end
	return verdict;
end

-- Whether this user exists. As `questions:ask`.
function existence:ask(user)
	local known = self:known(user);
	if known ~= nil then return known and "granted" or "denied"; end
	return self:ask_anew(user);
end

-- The same, where nothing counts that is older than so many seconds.
function existence:ask_within(user, seconds)
	local entry = self.remembered:get(user);
	if entry and entry.since + seconds > monotonic() then return entry.exists and "granted" or "denied"; end
	return self:ask_anew(user);
end

return new;
