-- A program for Prosody in Lua; the truth table is that of wire.py.
io.stdout:setvbuf("no");

local function exists(user)
	return user:match("[^-]*$"):sub(1, 2) ~= "no";
end

for line in io.lines() do
	local command, user, _, secret = line:match("^([^:]*):([^:]*):([^:]*):?(.*)$");
	local yes = false;
	if command == "auth" then
		yes = exists(user) and secret == "pw-" .. user;
	elseif command == "isuser" or command == "setpass" then
		yes = exists(user);
	end
	io.write(yes and "1\n" or "0\n");
end
