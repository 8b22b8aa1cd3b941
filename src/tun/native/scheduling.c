// What the daemon asks of the kernel's scheduler.
#include "scheduling.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"

// struct sched_attr of the kernel, in its first version: glibc has it only from 2.41 on.
typedef struct {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
} SchedulingAttributes;

napi_value scheduling_request_slice(napi_env env, napi_callback_info info) {
  napi_value argv[1], result;
  size_t argc = 1;
  int64_t microseconds;
  napi_get_cb_info(env, info, &argc, argv, NULL, NULL);
  if (!arg_int(env, argv[0], "microseconds", 100, 100000, &microseconds)) return NULL;
  SchedulingAttributes attributes = {.size = sizeof attributes};
  bool done = syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) == 0 && attributes.policy == 0;
  attributes.runtime = (uint64_t)microseconds * 1000;
  done = done && syscall(SYS_sched_setattr, 0, &attributes, 0) == 0;
  napi_get_boolean(env, done, &result);
  return result;
}
