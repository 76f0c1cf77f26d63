/* The command under test: how it is started, talked to and ended. */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static pid_t child; /* 0 while there is none to be killed */

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    if (child > 0)
        kill(child, SIGKILL);
    exit(1);
}

static void give_up(int number)
{
    static const char message[] = "load: gave up: an answer or the command's end did not come\n";
    (void)number;
    if (child > 0)
        kill(child, SIGKILL);
    _exit(write(2, message, sizeof message - 1) < 0 ? 2 : 1);
}

/* One alarm over everything, so that a command that hangs cannot hang the benchmark. */
void give_up_after(double seconds)
{
    signal(SIGALRM, give_up);
    alarm((unsigned)seconds + 1);
}

static pid_t fork_child(void)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork: %s", strerror(errno));
    if (pid == 0)
        signal(SIGPIPE, SIG_DFL);
    else
        child = pid;
    return pid;
}

static void become(char **argv)
{
    execvp(argv[0], argv);
    fprintf(stderr, "load: %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

pid_t start_on_pipes(char **argv, int *to, int *from)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
        fail("pipe: %s", strerror(errno));
    pid_t pid = fork_child();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        become(argv);
    }
    close(in[0]);
    close(out[1]);
    *to = in[1];
    *from = out[0];
    return pid;
}

/* The terminal as Prosody's library makes it: no echo, all three descriptors, the child's controlling one.
 * Echo is off before the child runs, so the race for it that is possible in Prosody is not: speed is measured
 * here. */
pid_t start_on_terminal(char **argv, int *master)
{
    int slave;
    struct termios mode;
    if (openpty(master, &slave, NULL, NULL, NULL) < 0 || tcgetattr(slave, &mode) < 0)
        fail("openpty: %s", strerror(errno));
    mode.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    if (tcsetattr(slave, TCSANOW, &mode) < 0)
        fail("tcsetattr: %s", strerror(errno));
    fcntl(*master, F_SETFD, FD_CLOEXEC);
    pid_t pid = fork_child();
    if (pid == 0) {
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        for (int fd = 0; fd < 3; fd++)
            dup2(slave, fd);
        close(slave);
        become(argv);
    }
    close(slave);
    return pid;
}

int connect_to(const char *path, pid_t *peer)
{
    struct ucred listening;
    socklen_t size = sizeof listening;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail("the socket's path is too long");
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("%s: %s", path, strerror(errno));
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listening, &size) < 0)
        fail("getsockopt: %s", strerror(errno));
    *peer = listening.pid;
    return fd;
}

bool readable_within(int fd, int milliseconds)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    return poll(&one, 1, milliseconds) > 0;
}

void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0)
            fail("the command takes no more input: %s", strerror(errno));
        bytes += n;
        size -= (size_t)n;
    }
}

void expect_end(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 0)
        fail("there was more output than answers");
}

void expect_exit(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) < 0)
        fail("waitpid: %s", strerror(errno));
    child = 0;
    if (WIFSIGNALED(status))
        fail("the command died of signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        fail("the command ended with exit status %d", WEXITSTATUS(status));
}
