"""Names of JSON-RPC methods that Core Lightning already has."""

from __future__ import annotations

from typing import Final

__all__ = ["LIGHTNINGD_METHODS"]

# fmt: off
LIGHTNINGD_METHODS: Final = frozenset({
    "abort_channels", "addgossip", "addpsbtinput", "addpsbtoutput", "askrene-age", "askrene-bias-channel",
    "askrene-bias-node", "askrene-create-channel", "askrene-create-layer", "askrene-disable-channel",
    "askrene-disable-node", "askrene-inform-channel", "askrene-listlayers", "askrene-listreservations",
    "askrene-remove-channel-update", "askrene-remove-layer", "askrene-reserve", "askrene-unreserve",
    "askrene-update-channel", "autoclean-once", "autoclean-status", "autocleaninvoice", "batching",
    "bkpr-channelsapy", "bkpr-dumpincomecsv", "bkpr-editdescriptionbyoutpoint", "bkpr-editdescriptionbypaymentid",
    "bkpr-inspect", "bkpr-listaccountevents", "bkpr-listbalances", "bkpr-listincome", "bkpr-report",
    "blacklistrune", "cancelrecurringinvoice", "check", "checkmessage", "checkrune", "clnrest-register-path",
    "close", "commando", "commando-blacklist", "commando-listrunes", "commando-rune", "connect", "createinvoice",
    "createinvoicerequest", "createoffer", "createonion", "createproof", "createrune", "currencyconvert",
    "currencyrate", "datastore", "datastoreusage", "decode", "decodepay", "decryptencrypteddata", "deldatastore",
    "delexpiredinvoice", "delforward", "delinvoice", "delnetworkevent", "delpay", "deprecations", "destroyrune",
    "dev", "dev-compact-gossip-store", "dev-connectd-exhaust-fds", "dev-fail", "dev-feerate", "dev-finalizepsbt",
    "dev-forget-channel", "dev-ignore-htlcs", "dev-listaddrs", "dev-memdump", "dev-memleak", "dev-peer-shachain",
    "dev-queryrates", "dev-quiesce", "dev-reenable-commit", "dev-report-fds", "dev-rescan-outputs",
    "dev-set-max-scids-encode-size", "dev-sign-last-tx", "dev-splice", "dev-suppress-gossip",
    "disableinvoicerequest", "disableoffer", "disconnect", "emergencyrecover", "enableoffer", "estimatefees",
    "exposesecret", "feerates", "fetchbip353", "fetchinvoice", "fundchannel", "fundchannel_cancel",
    "fundchannel_complete", "fundchannel_start", "funderupdate", "fundpsbt", "getchaininfo",
    "getemergencyrecoverdata", "getinfo", "getlog", "getrawblockbyheight", "getroute", "getroutes", "getutxout",
    "getwatchmanheight", "graceful", "help", "injectonionmessage", "injectpaymentonion", "injectutxodeposit",
    "injectutxospend", "invoice", "invoicerequest", "invokerune", "keysend", "listaddresses", "listchainmoves",
    "listchannelmoves", "listchannels", "listclosedchannels", "listconfigs", "listcurrencyrates", "listdatastore",
    "listforwards", "listfunds", "listhtlcs", "listincoming", "listinvoicerequests", "listinvoices",
    "listnetworkevents", "listnodes", "listoffers", "listpays", "listpeerchannels", "listpeers", "listsendpays",
    "listsqlschemas", "listtransactions", "lsps-jitchannel", "lsps-listprotocols", "lsps-lsps2-approve",
    "lsps-lsps2-buy", "lsps-lsps2-getinfo", "lsps-lsps2-invoice", "makesecret", "multifundchannel", "multiwithdraw",
    "newaddr", "notifications", "offer", "openchannel_abort", "openchannel_bump", "openchannel_init",
    "openchannel_signed", "openchannel_update", "parsefeerate", "pay", "payersign", "paystatus", "ping", "plugin",
    "preapproveinvoice", "preapprovekeysend", "reckless", "recover", "recoverchannel", "renepay", "renepaystatus",
    "reserveinputs", "restorefrompeer", "sendamount", "sendcustommsg", "sendinvoice", "sendonion", "sendpay",
    "sendpsbt", "sendrawtransaction", "setchannel", "setconfig", "setleaserates", "setpsbtversion", "showrunes",
    "signinvoice", "signmessage", "signmessagewithkey", "signpsbt", "splice_init", "splice_signed", "splice_update",
    "splicein", "spliceout", "sql", "staticbackup", "stfu_channels", "stop", "txdiscard", "txprepare", "txsend",
    "unreserveinputs", "upgradewallet", "utxopsbt", "wait", "waitanyinvoice", "waitblockheight", "waitinvoice",
    "waitsendpay", "withdraw", "xkeysend", "xpay", "xpay-as-pay",
})
# fmt: on
"""Every JSON-RPC method of lightningd v26.06 and its plugins, and those of older releases back to v23.11.

A plugin with a method of such a name is refused, or crashes lightningd.
"""
