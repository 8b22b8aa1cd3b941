// Batches of datagrams that are nobody's to open here: as they come and as they are given.
#ifndef MPTUNNEL_RAW_H
#define MPTUNNEL_RAW_H

#include <node_api.h>

napi_value raw_receive(napi_env env, napi_callback_info info);
napi_value raw_stage(napi_env env, napi_callback_info info);
napi_value descriptor_vacate(napi_env env, napi_callback_info info);

#endif
