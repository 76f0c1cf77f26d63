-- A Unix socket in Prosody's main loop, whichever that is.

local server = require "net.server";
local timer = require "util.timer";
local unix = require "socket.unix";
local new_socket = type(unix) == "function" and unix or unix.stream;

-- A descriptor from here up would break Prosody's whole main loop where that is select(2).
local DESCRIPTORS = server.get_backend() == "select" and require "socket"._SETSIZE or math.huge;

local sockets = {};

-- A connected socket that never blocks, or nil and why not; "timeout": somebody listens, but its backlog is full.
function sockets.connect(path)
	local socket, err = new_socket();
	if not socket then return nil, err; end
	socket:settimeout(0);
	local ok;
	ok, err = socket:connect(path);
	if ok and socket:getfd() >= DESCRIPTORS then ok, err = nil, "too many open files"; end
	if ok then return socket; end
	socket:close();
	return nil, err;
end

-- Have `readable` called when there is something to be read. Returns what closes the socket.
-- When we drop it, the main loop may already have found it readable in the same iteration, and does not expect its
-- handler to be gone: so it is closed when the loop reports it, or at the end of that iteration, which comes after
-- everything readable was handled.
function sockets.watch(socket, readable)
	local watch, dropped = nil, false;
	local function close()
		if not watch then return; end
		if watch.close then watch:close(); else watch:setflags(false); end
		watch = nil;
		socket:close();
	end
	watch = server.watchfd(socket:getfd(), function ()
		if dropped then close(); else readable(); end
	end);
	return function ()
		dropped = true;
		timer.add_task(0, close);
	end;
end

return sockets;
