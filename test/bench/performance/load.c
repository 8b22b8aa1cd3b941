/*
 * Many TCP connections at little cost, so that a figure shows the tunnel and not the program that loads it.
 *
 *   load serve PORT
 *   load churn ADDRESS PORT AT_ONCE SECONDS
 *       opens connections, AT_ONCE at a time; on each a request, a response, and the close of the far side. Prints {"served", "failed", "seconds"}.
 *   load hold ADDRESS PORT COUNT BYTES INTERVAL_MS
 *       opens COUNT connections and has BYTES echoed on each; prints {"open", "failed"}. Then, with INTERVAL_MS, has BYTES echoed on each in
 *       every interval. At the end of standard input it prints {"echoed"} and ends.
 *
 * A request whose first byte is C is answered by as many bytes and a close once it is REQUEST_BYTES long; after a K everything is echoed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_BYTES = 100, MAX_DESCRIPTORS = 1 << 17, BATCH = 256, OPENING_AT_ONCE = 100, BUFFER_BYTES = 65536 };

/* By descriptor. */
typedef struct {
    int seen_bytes;
    bool keep, open;
} Connection;

static Connection connections[MAX_DESCRIPTORS];
static char buffer[BUFFER_BYTES];
static int poller;

static double now_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, operation, fd, &event) < 0) die("epoll_ctl");
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static struct sockaddr_in address_of(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die("address");
    return address;
}

/* ---- server ---- */

static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0) return;
        if (fd >= MAX_DESCRIPTORS) {
            close(fd);
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd] = (Connection){0};
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

/* Messages are small: a write that does not go through whole is a failed connection. */
static void answer(int fd) {
    ssize_t length = read(fd, buffer, sizeof buffer);
    if (length < 0 && errno == EAGAIN) return;
    Connection *connection = &connections[fd];
    bool stays = length > 0;
    if (stays) {
        if (connection->seen_bytes == 0) connection->keep = buffer[0] == 'K';
        connection->seen_bytes += (int)length;
        if (connection->keep) {
            connection->seen_bytes = 1;
            stays = write(fd, buffer, (size_t)length) == length;
        } else if (connection->seen_bytes >= REQUEST_BYTES) {
            stays = false;
            if (write(fd, buffer, REQUEST_BYTES) != REQUEST_BYTES) perror("write");
        }
    }
    if (!stays) close(fd);
}

static void serve(const char *port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    struct sockaddr_in address = address_of("0.0.0.0", port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) die("listen");
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    printf("listening\n");
    fflush(stdout);
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(poller, events, BATCH, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) accept_all(listener);
            else answer(events[i].data.fd);
        }
    }
}

/* ---- client ---- */

static int start_connection(const struct sockaddr_in *address) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0 || fd >= MAX_DESCRIPTORS) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connections[fd] = (Connection){0};
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    watch(fd, EPOLLOUT, EPOLL_CTL_ADD);
    return fd;
}

/* The connect is done, one way or the other: sends the first request. */
static bool send_first(int fd, char kind, int bytes) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return false;
    connections[fd].open = true;
    watch(fd, EPOLLIN, EPOLL_CTL_MOD);
    memset(buffer, kind, (size_t)bytes);
    return write(fd, buffer, (size_t)bytes) == bytes;
}

static void churn(const struct sockaddr_in *address, int at_once, double seconds) {
    long served = 0, failed = 0;
    int under_way = 0;
    double start = now_seconds(), end = start + seconds;
    struct epoll_event events[BATCH];
    while (now_seconds() < end) {
        for (; under_way < at_once; under_way++) {
            if (start_connection(address) >= 0) continue;
            failed++;
            break;
        }
        int count = epoll_wait(poller, events, BATCH, 100);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            Connection *connection = &connections[fd];
            if (!connection->open) {
                if (send_first(fd, 'C', REQUEST_BYTES)) continue;
                failed++;
            } else {
                ssize_t length = read(fd, buffer, sizeof buffer);
                if (length > 0) {
                    connection->seen_bytes += (int)length;
                    continue;
                }
                if (length < 0 && errno == EAGAIN) continue;
                if (length == 0 && connection->seen_bytes == REQUEST_BYTES) served++;
                else failed++;
            }
            close(fd);
            under_way--;
        }
    }
    printf("{\"served\":%ld,\"failed\":%ld,\"seconds\":%.6f}\n", served, failed, now_seconds() - start);
}

static int *held;
static int held_count;
static long echoed;

/* One round of what happened; connections that stand are moved into `held`. Returns how many were settled, well or not. */
static int settle(int timeout_ms, int bytes, int *failed) {
    struct epoll_event events[BATCH];
    int settled = 0, count = epoll_wait(poller, events, BATCH, timeout_ms);
    for (int i = 0; i < count; i++) {
        int fd = events[i].data.fd;
        if (fd == STDIN_FILENO) {
            if (read(fd, buffer, sizeof buffer) > 0) continue;
            printf("{\"echoed\":%ld}\n", echoed);
            exit(0);
        }
        Connection *connection = &connections[fd];
        if (!connection->open) {
            if (send_first(fd, 'K', bytes)) continue;
        } else {
            ssize_t length = read(fd, buffer, sizeof buffer);
            if (length < 0 && errno == EAGAIN) continue;
            if (length > 0) {
                connection->seen_bytes += (int)length;
                if (connection->seen_bytes < bytes) continue;
                connection->seen_bytes = 0;
                echoed++;
                if (connection->keep) continue;
                connection->keep = true;
                held[held_count++] = fd;
                settled++;
                continue;
            }
        }
        if (!connection->keep) settled++;
        (*failed)++;
        close(fd);
    }
    return settled;
}

static void hold(const struct sockaddr_in *address, int count, int bytes, int interval_ms) {
    int begun = 0, settled = 0, failed = 0;
    held = calloc((size_t)count, sizeof *held);
    if (held == NULL || bytes > BUFFER_BYTES) die("hold");
    watch(STDIN_FILENO, EPOLLIN, EPOLL_CTL_ADD);
    while (settled < count) {
        for (; begun < count && begun - settled < OPENING_AT_ONCE; begun++) {
            if (start_connection(address) >= 0) continue;
            settled++;
            failed++;
        }
        settled += settle(100, bytes, &failed);
    }
    printf("{\"open\":%d,\"failed\":%d}\n", held_count, failed);
    fflush(stdout);
    /* Spread over the interval: a slice each ten milliseconds. */
    double start = now_seconds();
    long sent = 0;
    for (;;) {
        settle(interval_ms > 0 ? 10 : -1, bytes, &failed);
        if (interval_ms <= 0 || held_count == 0) continue;
        long due = (long)((now_seconds() - start) * 1000 / interval_ms * held_count);
        for (; sent < due; sent++) {
            int fd = held[sent % held_count];
            memset(buffer, 'K', (size_t)bytes);
            if (write(fd, buffer, (size_t)bytes) < 0 && errno != EAGAIN && errno != EBADF) failed++;
        }
    }
}

int main(int count, char **words) {
    raise_descriptor_limit();
    poller = epoll_create1(0);
    if (count == 3 && strcmp(words[1], "serve") == 0) serve(words[2]);
    if (count == 6 && strcmp(words[1], "churn") == 0) {
        struct sockaddr_in address = address_of(words[2], words[3]);
        churn(&address, atoi(words[4]), atof(words[5]));
        return 0;
    }
    if (count == 7 && strcmp(words[1], "hold") == 0) {
        struct sockaddr_in address = address_of(words[2], words[3]);
        hold(&address, atoi(words[4]), atoi(words[5]), atoi(words[6]));
    }
    fprintf(stderr, "load serve PORT | churn ADDRESS PORT AT_ONCE SECONDS | hold ADDRESS PORT COUNT BYTES INTERVAL_MS\n");
    return 2;
}
