-- Gives queries their verdicts, and wakes those who wait for them.
--
-- A verdict is "granted", "denied" or "unavailable". It is given once; whatever comes later is dropped.

local timer = require "util.timer";
local traceback = debug.traceback;
local new_queue = module:require "queue";

local settled = new_queue(); -- queries that somebody waits for, to be woken
local verdicts = {};

-- Wake them. Only from the main loop, so that they never resume each other.
function verdicts.deliver()
	while settled:length() > 0 do
		for _, wake in ipairs(settled:pop().wakers) do
			local ok, err = xpcall(wake, traceback);
			if not ok then module:log("error", "Error while waking a query: %s", err); end
		end
	end
end

-- `query.wakers` are functions to be called once it has its verdict.
function verdicts.settle(query, verdict)
	if query.verdict then return; end
	query.verdict = verdict;
	if #query.wakers == 0 then return; end
	if settled:length() == 0 then timer.add_task(0, function () verdicts.deliver(); end); end
	settled:push(query);
end

return verdicts;
