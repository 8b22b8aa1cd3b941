// As a service manager: binds a datagram socket at the path given, prints what comes as one line each, until standard input ends.
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  socklen_t length = sizeof(sa_family_t) + strlen(argv[1]) + (argv[1][0] == '@' ? 0 : 1);
  if (argv[1][0] == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0) {
    perror("bind");
    return 1;
  }
  if (argv[1][0] == '/') chmod(argv[1], 0666);
  puts("bound");
  fflush(stdout);
  struct pollfd polled[2] = {{.fd = fd, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
  while (poll(polled, 2, -1) > 0) {
    char state[4096];
    if (polled[0].revents & POLLIN) {
      ssize_t got = recv(fd, state, sizeof state - 1, 0);
      for (ssize_t i = 0; i < got; i++) putchar(state[i] == '\n' ? ' ' : state[i]);
      putchar('\n');
      fflush(stdout);
    } else if (polled[1].revents && read(0, state, sizeof state) <= 0) {
      return 0;
    }
  }
  return 0;
}
