/** The template unit: `systemctl enable --now mptunnel@NAME` runs /etc/mptunnel/NAME.toml. */

export const UNIT_NAME = 'mptunnel@.service';

/** `program`: what is run before the arguments, absolute ("/usr/bin/mptunnel", or "/usr/bin/node /opt/mptunnel/dist/bin/mptunnel.js"). */
export function systemdUnit(program: string): string {
  return `[Unit]
Description=mptunnel %i
Documentation=man:mptunnel(1)
Wants=network-online.target
After=network-online.target nss-lookup.target

[Service]
# Started once the device is there; it looks for its server for as long as it takes, and says so in its status.
Type=notify
NotifyAccess=main
ExecStart=${program} up %i --foreground --timeout 0
# A faulty file changes nothing, and is told in the log.
ExecReload=${program} reload %i
Restart=on-failure
RestartSec=2
# The device and the socket that clients send to stay while the daemon is started anew.
FileDescriptorStoreMax=4
WatchdogSec=30
TimeoutStopSec=15

# Devices, addresses, routes, marks: CAP_NET_ADMIN is all that a tunnel needs. For a listen_port below 1024 add CAP_NET_BIND_SERVICE with
# \`systemctl edit mptunnel@NAME\`.
CapabilityBoundingSet=CAP_NET_ADMIN
AmbientCapabilities=CAP_NET_ADMIN
NoNewPrivileges=yes
UMask=0077
RuntimeDirectory=mptunnel
RuntimeDirectoryMode=0700
# Several tunnels share it.
RuntimeDirectoryPreserve=yes
# What paths have used of their budgets.
StateDirectory=mptunnel
StateDirectoryMode=0700
ConfigurationDirectory=mptunnel
ConfigurationDirectoryMode=0755
# Enrolment writes peers there; [dns] needs resolv.conf, where systemd-resolved is not asked.
ReadWritePaths=/etc/mptunnel -/etc/resolv.conf
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
DevicePolicy=closed
DeviceAllow=/dev/net/tun rw
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
# Not ProtectKernelTunables: rp_filter of the uplinks and forwarding for [lan] are among them.
ProtectKernelModules=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
`;
}
