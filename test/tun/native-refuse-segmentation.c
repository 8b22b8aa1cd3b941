// Preloaded by native-fallback.test.ts: a kernel that refuses UDP_SEGMENT. REFUSE_SEGMENTATION is read at every call:
//   EIO, EINVAL, EOPNOTSUPP   every message with UDP_SEGMENT fails so (a device without checksum offload before Linux 6.11)
//   MAX64                     EINVAL for more than 64 segments (kernels before 6.8)
//   ENOBUFS                   every message fails, also without UDP_SEGMENT
//   TUN                       no UDP super-packet can be written into a TUN (kernels before 6.2)
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static unsigned segment_bytes(struct msghdr *message) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT) {
      unsigned short value;
      memcpy(&value, CMSG_DATA(c), sizeof value);
      return value;
    }
  }
  return 0;
}

static int refusal(const char *mode, struct msghdr *message) {
  unsigned segment = segment_bytes(message);
  if (strcmp(mode, "ENOBUFS") == 0) return ENOBUFS;
  if (segment == 0) return 0;
  if (strcmp(mode, "EIO") == 0) return EIO;
  if (strcmp(mode, "EINVAL") == 0) return EINVAL;
  if (strcmp(mode, "EOPNOTSUPP") == 0) return EOPNOTSUPP;
  if (strcmp(mode, "MAX64") == 0 && message->msg_iov[0].iov_len > 64u * segment) return EINVAL;
  return 0;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
  static int (*real)(int, struct mmsghdr *, unsigned, int);
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "sendmmsg");
  const char *mode = getenv("REFUSE_SEGMENTATION");
  for (unsigned i = 0; mode != NULL && i < count; i++) {
    int error = refusal(mode, &messages[i].msg_hdr);
    if (error == 0) continue;
    if (i > 0) return real(fd, messages, i, flags);
    errno = error;
    return -1;
  }
  return real(fd, messages, count, flags);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  static ssize_t (*real)(int, const struct iovec *, int);
  if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "writev");
  const char *mode = getenv("REFUSE_SEGMENTATION");
  // The first part is a virtio_net_hdr, whose gso_type 5 is UDP_L4.
  if (mode != NULL && strcmp(mode, "TUN") == 0 && parts[0].iov_len == 10 && ((const unsigned char *)parts[0].iov_base)[1] == 5) {
    errno = EINVAL;
    return -1;
  }
  return real(fd, parts, count);
}
