// A port without a socket: what is staged on it waits to be taken by who carries it elsewhere, and what came from there is put into it to be received.
#ifndef MPTUNNEL_MEMORY_H
#define MPTUNNEL_MEMORY_H

#include "udp.h"

void memory_free(MemoryPort *memory);
// The local one, 0 when it has none.
int memory_port(const MemoryPort *memory);
// All that is staged goes into the queue out; what has no room there is refused with ENOBUFS.
void memory_flush(Udp *udp);
// As inbox_fill.
int memory_fill(const Udp *udp, Inbox *inbox);

napi_value memory_open(napi_env env, napi_callback_info info);
napi_value memory_put(napi_env env, napi_callback_info info);
napi_value memory_take(napi_env env, napi_callback_info info);
napi_value memory_waiting(napi_env env, napi_callback_info info);

#endif
