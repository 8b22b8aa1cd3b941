// The table of what JavaScript sees; src/tun/native.ts says what each function does.
#include "aead.h"
#include "loop.h"
#include "nft-set.h"
#include "notify.h"
#include "open.h"
#include "raw.h"
#include "relay.h"
#include "scheduling.h"
#include "seal.h"
#include "tcp.h"
#include "tun.h"
#include "memory.h"
#include "udp.h"

#define EXPORT(name, function) {name, NULL, function, NULL, NULL, NULL, napi_enumerable, NULL}

static const napi_property_descriptor EXPORTS[] = {
    EXPORT("tunOpen", tun_open),
    EXPORT("tunName", tun_name),
    EXPORT("tunFd", tun_fd),
    EXPORT("tunClose", tun_close),
    EXPORT("tunRead", tun_read),
    EXPORT("tunReadBatch", tun_read_batch),
    EXPORT("tunWritePacket", tun_write_packet),
    EXPORT("tunWriteSegments", tun_write_segments),
    EXPORT("tunWriteJoined", tun_write_joined),
    EXPORT("memoryOpen", memory_open),
    EXPORT("memoryPut", memory_put),
    EXPORT("memoryTake", memory_take),
    EXPORT("memoryWaiting", memory_waiting),
    EXPORT("udpOpen", udp_open),
    EXPORT("udpPort", udp_port),
    EXPORT("udpFd", udp_fd),
    EXPORT("udpClose", udp_close),
    EXPORT("udpSendRaw", udp_send_raw),
    EXPORT("udpReceiveRaw", raw_receive),
    EXPORT("udpStageRaw", raw_stage),
    EXPORT("vacateDescriptor", descriptor_vacate),
    EXPORT("udpFlush", udp_flush),
    EXPORT("udpLastError", udp_last_error),
    EXPORT("udpCounters", udp_counters),
    EXPORT("tcpOpen", tcp_open),
    EXPORT("tcpNotSentLowat", tcp_not_sent_lowat),
    EXPORT("createSealer", seal_create_sealer),
    EXPORT("destroySealer", seal_destroy_sealer),
    EXPORT("createSender", seal_create_sender),
    EXPORT("senderSetTarget", seal_sender_set_target),
    EXPORT("senderPacketNumber", seal_sender_packet_number),
    EXPORT("sealSegments", seal_segments),
    EXPORT("sealPacket", seal_packet),
    EXPORT("senderCompress", seal_sender_compress),
    EXPORT("senderAcked", seal_sender_acked),
    EXPORT("lastCut", seal_last_cut),
    EXPORT("nextBase", seal_next_base),
    EXPORT("confirmBase", seal_confirm_base),
    EXPORT("loseBase", seal_lose_base),
    EXPORT("createOpenTable", open_create_table),
    EXPORT("addOpener", open_add_opener),
    EXPORT("removeOpener", open_remove_opener),
    EXPORT("closeOpenTable", open_close_table),
    EXPORT("installBase", open_install_base),
    EXPORT("receive", open_receive),
    EXPORT("receiveCounters", open_counters),
    EXPORT("relayCreate", relay_create),
    EXPORT("relayConnect", relay_connect),
    EXPORT("relayDisconnect", relay_disconnect),
    EXPORT("relayForward", relay_forward),
    EXPORT("relayCounters", relay_counters),
    EXPORT("relayClose", relay_close),
    EXPORT("watchReadable", loop_watch_readable),
    EXPORT("createFineTimer", loop_create_fine_timer),
    EXPORT("notifyService", notify_service),
    EXPORT("requestTimeSlice", scheduling_request_slice),
    EXPORT("nftOpen", nft_open),
    EXPORT("nftHasElement", nft_has_element),
    EXPORT("nftClose", nft_close),
    EXPORT("measureAead", aead_measure),
    EXPORT("aeadOnce", aead_once),
    EXPORT("useAeadEngine", aead_use_engine),
};

NAPI_MODULE_INIT() {
  napi_define_properties(env, exports, sizeof EXPORTS / sizeof EXPORTS[0], EXPORTS);
  return exports;
}
