"""The classes that `oddwire.known.bolts` makes of CSV, for type checkers alone.

Written by ``python -m tests.unit.known.test_bolts_stub``.
"""
# ruff: noqa: A001 - the BOLTs have a Warning

from oddwire.proto import PublicKey, ShortChannelId
from oddwire.schema import Message, subtype

class AcceptChannel(Message):
    temporary_channel_id: bytes
    dust_limit_satoshis: int
    max_htlc_value_in_flight_msat: int
    channel_reserve_satoshis: int
    htlc_minimum_msat: int
    minimum_depth: int
    to_self_delay: int
    max_accepted_htlcs: int
    funding_pubkey: PublicKey
    revocation_basepoint: PublicKey
    payment_basepoint: PublicKey
    delayed_payment_basepoint: PublicKey
    htlc_basepoint: PublicKey
    first_per_commitment_point: PublicKey
    tlvs: AcceptChannelTlvs = ...

class AcceptChannel2(Message):
    temporary_channel_id: bytes
    funding_satoshis: int
    dust_limit_satoshis: int
    max_htlc_value_in_flight_msat: int
    htlc_minimum_msat: int
    minimum_depth: int
    to_self_delay: int
    max_accepted_htlcs: int
    funding_pubkey: PublicKey
    revocation_basepoint: PublicKey
    payment_basepoint: PublicKey
    delayed_payment_basepoint: PublicKey
    htlc_basepoint: PublicKey
    first_per_commitment_point: PublicKey
    second_per_commitment_point: PublicKey
    tlvs: AcceptTlvs = ...

@subtype
class AcceptChannelTlvs:
    upfront_shutdown_script: AcceptChannelTlvsUpfrontShutdownScript | None = ...
    channel_type: AcceptChannelTlvsChannelType | None = ...

@subtype
class AcceptChannelTlvsChannelType:
    type: bytes

@subtype
class AcceptChannelTlvsUpfrontShutdownScript:
    shutdown_scriptpubkey: bytes

@subtype
class AcceptTlvs:
    upfront_shutdown_script: AcceptTlvsUpfrontShutdownScript | None = ...
    channel_type: AcceptTlvsChannelType | None = ...
    require_confirmed_inputs: AcceptTlvsRequireConfirmedInputs | None = ...

@subtype
class AcceptTlvsChannelType:
    type: bytes

@subtype
class AcceptTlvsRequireConfirmedInputs: ...

@subtype
class AcceptTlvsUpfrontShutdownScript:
    shutdown_scriptpubkey: bytes

class AmountBelowMinimum(Message):
    htlc_msat: int
    channel_update: bytes

class AnnouncementSignatures(Message):
    channel_id: bytes
    short_channel_id: ShortChannelId
    node_signature: bytes
    bitcoin_signature: bytes

@subtype
class BlindedPath:
    first_node_id: bytes
    first_path_key: PublicKey
    path: tuple[BlindedPathHop, ...]

@subtype
class BlindedPathHop:
    blinded_node_id: PublicKey
    encrypted_recipient_data: bytes

@subtype
class BlindedPayinfo:
    fee_base_msat: int
    fee_proportional_millionths: int
    cltv_expiry_delta: int
    htlc_minimum_msat: int
    htlc_maximum_msat: int
    features: bytes

class ChannelAnnouncement(Message):
    node_signature_1: bytes
    node_signature_2: bytes
    bitcoin_signature_1: bytes
    bitcoin_signature_2: bytes
    features: bytes
    chain_hash: bytes
    short_channel_id: ShortChannelId
    node_id_1: PublicKey
    node_id_2: PublicKey
    bitcoin_key_1: PublicKey
    bitcoin_key_2: PublicKey

class ChannelDisabled(Message):
    disabled_flags: int
    channel_update: bytes

class ChannelReady(Message):
    channel_id: bytes
    second_per_commitment_point: PublicKey
    tlvs: ChannelReadyTlvs = ...

@subtype
class ChannelReadyTlvs:
    short_channel_id: ChannelReadyTlvsShortChannelId | None = ...

@subtype
class ChannelReadyTlvsShortChannelId:
    alias: ShortChannelId

class ChannelReestablish(Message):
    channel_id: bytes
    next_commitment_number: int
    next_revocation_number: int
    your_last_per_commitment_secret: bytes
    my_current_per_commitment_point: PublicKey
    tlvs: ChannelReestablishTlvs = ...

@subtype
class ChannelReestablishTlvs:
    next_funding: ChannelReestablishTlvsNextFunding | None = ...
    my_current_funding_locked: ChannelReestablishTlvsMyCurrentFundingLocked | None = ...

@subtype
class ChannelReestablishTlvsMyCurrentFundingLocked:
    my_current_funding_locked_txid: bytes
    retransmit_flags: int

@subtype
class ChannelReestablishTlvsNextFunding:
    next_funding_txid: bytes
    retransmit_flags: int

class ChannelUpdate(Message):
    signature: bytes
    chain_hash: bytes
    short_channel_id: ShortChannelId
    timestamp: int
    message_flags: int
    channel_flags: int
    cltv_expiry_delta: int
    htlc_minimum_msat: int
    fee_base_msat: int
    fee_proportional_millionths: int
    htlc_maximum_msat: int

@subtype
class ChannelUpdateChecksums:
    checksum_node_id_1: int
    checksum_node_id_2: int

@subtype
class ChannelUpdateTimestamps:
    timestamp_node_id_1: int
    timestamp_node_id_2: int

class ClosingComplete(Message):
    channel_id: bytes
    closer_scriptpubkey: bytes
    closee_scriptpubkey: bytes
    fee_satoshis: int
    locktime: int
    tlvs: ClosingTlvs = ...

class ClosingSig(Message):
    channel_id: bytes
    closer_scriptpubkey: bytes
    closee_scriptpubkey: bytes
    fee_satoshis: int
    locktime: int
    tlvs: ClosingTlvs = ...

class ClosingSigned(Message):
    channel_id: bytes
    fee_satoshis: int
    signature: bytes
    tlvs: ClosingSignedTlvs = ...

@subtype
class ClosingSignedTlvs:
    fee_range: ClosingSignedTlvsFeeRange | None = ...

@subtype
class ClosingSignedTlvsFeeRange:
    min_fee_satoshis: int
    max_fee_satoshis: int

@subtype
class ClosingTlvs:
    closer_output_only: ClosingTlvsCloserOutputOnly | None = ...
    closee_output_only: ClosingTlvsCloseeOutputOnly | None = ...
    closer_and_closee_outputs: ClosingTlvsCloserAndCloseeOutputs | None = ...

@subtype
class ClosingTlvsCloseeOutputOnly:
    sig: bytes

@subtype
class ClosingTlvsCloserAndCloseeOutputs:
    sig: bytes

@subtype
class ClosingTlvsCloserOutputOnly:
    sig: bytes

class CommitmentSigned(Message):
    channel_id: bytes
    signature: bytes
    htlc_signature: tuple[bytes, ...]
    tlvs: CommitmentSignedTlvs = ...

@subtype
class CommitmentSignedTlvs:
    funding_txid: CommitmentSignedTlvsFundingTxid | None = ...

@subtype
class CommitmentSignedTlvsFundingTxid:
    funding_txid: bytes

@subtype
class EncryptedDataTlv:
    padding: EncryptedDataTlvPadding | None = ...
    short_channel_id: EncryptedDataTlvShortChannelId | None = ...
    next_node_id: EncryptedDataTlvNextNodeId | None = ...
    path_id: EncryptedDataTlvPathId | None = ...
    next_path_key_override: EncryptedDataTlvNextPathKeyOverride | None = ...
    payment_relay: EncryptedDataTlvPaymentRelay | None = ...
    payment_constraints: EncryptedDataTlvPaymentConstraints | None = ...
    allowed_features: EncryptedDataTlvAllowedFeatures | None = ...

@subtype
class EncryptedDataTlvAllowedFeatures:
    features: bytes

@subtype
class EncryptedDataTlvNextNodeId:
    node_id: PublicKey

@subtype
class EncryptedDataTlvNextPathKeyOverride:
    path_key: PublicKey

@subtype
class EncryptedDataTlvPadding:
    padding: bytes

@subtype
class EncryptedDataTlvPathId:
    data: bytes

@subtype
class EncryptedDataTlvPaymentConstraints:
    max_cltv_expiry: int
    htlc_minimum_msat: int

@subtype
class EncryptedDataTlvPaymentRelay:
    cltv_expiry_delta: int
    fee_proportional_millionths: int
    fee_base_msat: int

@subtype
class EncryptedDataTlvShortChannelId:
    short_channel_id: ShortChannelId

class Error(Message):
    channel_id: bytes
    data: bytes

class ExpiryTooFar(Message): ...

class ExpiryTooSoon(Message):
    channel_update: bytes

@subtype
class FallbackAddress:
    version: int
    address: bytes

class FeeInsufficient(Message):
    htlc_msat: int
    channel_update: bytes

class FinalIncorrectCltvExpiry(Message):
    cltv_expiry: int

class FinalIncorrectHtlcAmount(Message):
    incoming_htlc_amt: int

class FundingCreated(Message):
    temporary_channel_id: bytes
    funding_txid: bytes
    funding_output_index: int
    signature: bytes

class FundingSigned(Message):
    channel_id: bytes
    signature: bytes

class GossipTimestampFilter(Message):
    chain_hash: bytes
    first_timestamp: int
    timestamp_range: int

class IncorrectCltvExpiry(Message):
    cltv_expiry: int
    channel_update: bytes

class IncorrectOrUnknownPaymentDetails(Message):
    htlc_msat: int
    height: int

class Init(Message):
    globalfeatures: bytes
    features: bytes
    tlvs: InitTlvs = ...

@subtype
class InitTlvs:
    networks: InitTlvsNetworks | None = ...
    remote_addr: InitTlvsRemoteAddr | None = ...

@subtype
class InitTlvsNetworks:
    chains: tuple[bytes, ...]

@subtype
class InitTlvsRemoteAddr:
    data: bytes

class InvalidOnionBlinding(Message):
    sha256_of_onion: bytes

class InvalidOnionHmac(Message):
    sha256_of_onion: bytes

class InvalidOnionKey(Message):
    sha256_of_onion: bytes

class InvalidOnionPayload(Message):
    type: int
    offset: int

class InvalidOnionVersion(Message):
    sha256_of_onion: bytes

@subtype
class Invoice:
    invreq_metadata: InvoiceInvreqMetadata | None = ...
    offer_chains: InvoiceOfferChains | None = ...
    offer_metadata: InvoiceOfferMetadata | None = ...
    offer_currency: InvoiceOfferCurrency | None = ...
    offer_amount: InvoiceOfferAmount | None = ...
    offer_description: InvoiceOfferDescription | None = ...
    offer_features: InvoiceOfferFeatures | None = ...
    offer_absolute_expiry: InvoiceOfferAbsoluteExpiry | None = ...
    offer_paths: InvoiceOfferPaths | None = ...
    offer_issuer: InvoiceOfferIssuer | None = ...
    offer_quantity_max: InvoiceOfferQuantityMax | None = ...
    offer_issuer_id: InvoiceOfferIssuerId | None = ...
    invreq_chain: InvoiceInvreqChain | None = ...
    invreq_amount: InvoiceInvreqAmount | None = ...
    invreq_features: InvoiceInvreqFeatures | None = ...
    invreq_quantity: InvoiceInvreqQuantity | None = ...
    invreq_payer_id: InvoiceInvreqPayerId | None = ...
    invreq_payer_note: InvoiceInvreqPayerNote | None = ...
    invreq_paths: InvoiceInvreqPaths | None = ...
    invreq_bip_353_name: InvoiceInvreqBip353Name | None = ...
    invoice_paths: InvoiceInvoicePaths | None = ...
    invoice_blindedpay: InvoiceInvoiceBlindedpay | None = ...
    invoice_created_at: InvoiceInvoiceCreatedAt | None = ...
    invoice_relative_expiry: InvoiceInvoiceRelativeExpiry | None = ...
    invoice_payment_hash: InvoiceInvoicePaymentHash | None = ...
    invoice_amount: InvoiceInvoiceAmount | None = ...
    invoice_fallbacks: InvoiceInvoiceFallbacks | None = ...
    invoice_features: InvoiceInvoiceFeatures | None = ...
    invoice_node_id: InvoiceInvoiceNodeId | None = ...
    signature: InvoiceSignature | None = ...

@subtype
class InvoiceError:
    erroneous_field: InvoiceErrorErroneousField | None = ...
    suggested_value: InvoiceErrorSuggestedValue | None = ...
    error: InvoiceErrorError | None = ...

@subtype
class InvoiceErrorErroneousField:
    tlv_fieldnum: int

@subtype
class InvoiceErrorError:
    msg: str

@subtype
class InvoiceErrorSuggestedValue:
    value: bytes

@subtype
class InvoiceInvoiceAmount:
    msat: int

@subtype
class InvoiceInvoiceBlindedpay:
    payinfo: tuple[BlindedPayinfo, ...]

@subtype
class InvoiceInvoiceCreatedAt:
    timestamp: int

@subtype
class InvoiceInvoiceFallbacks:
    fallbacks: tuple[FallbackAddress, ...]

@subtype
class InvoiceInvoiceFeatures:
    features: bytes

@subtype
class InvoiceInvoiceNodeId:
    node_id: PublicKey

@subtype
class InvoiceInvoicePaths:
    paths: tuple[BlindedPath, ...]

@subtype
class InvoiceInvoicePaymentHash:
    payment_hash: bytes

@subtype
class InvoiceInvoiceRelativeExpiry:
    seconds_from_creation: int

@subtype
class InvoiceInvreqAmount:
    msat: int

@subtype
class InvoiceInvreqBip353Name:
    name: bytes
    domain: bytes

@subtype
class InvoiceInvreqChain:
    chain: bytes

@subtype
class InvoiceInvreqFeatures:
    features: bytes

@subtype
class InvoiceInvreqMetadata:
    blob: bytes

@subtype
class InvoiceInvreqPaths:
    paths: tuple[BlindedPath, ...]

@subtype
class InvoiceInvreqPayerId:
    key: PublicKey

@subtype
class InvoiceInvreqPayerNote:
    note: str

@subtype
class InvoiceInvreqQuantity:
    quantity: int

@subtype
class InvoiceOfferAbsoluteExpiry:
    seconds_from_epoch: int

@subtype
class InvoiceOfferAmount:
    amount: int

@subtype
class InvoiceOfferChains:
    chains: tuple[bytes, ...]

@subtype
class InvoiceOfferCurrency:
    iso4217: str

@subtype
class InvoiceOfferDescription:
    description: str

@subtype
class InvoiceOfferFeatures:
    features: bytes

@subtype
class InvoiceOfferIssuer:
    issuer: str

@subtype
class InvoiceOfferIssuerId:
    id: PublicKey

@subtype
class InvoiceOfferMetadata:
    data: bytes

@subtype
class InvoiceOfferPaths:
    paths: tuple[BlindedPath, ...]

@subtype
class InvoiceOfferQuantityMax:
    max: int

@subtype
class InvoiceRequest:
    invreq_metadata: InvoiceRequestInvreqMetadata | None = ...
    offer_chains: InvoiceRequestOfferChains | None = ...
    offer_metadata: InvoiceRequestOfferMetadata | None = ...
    offer_currency: InvoiceRequestOfferCurrency | None = ...
    offer_amount: InvoiceRequestOfferAmount | None = ...
    offer_description: InvoiceRequestOfferDescription | None = ...
    offer_features: InvoiceRequestOfferFeatures | None = ...
    offer_absolute_expiry: InvoiceRequestOfferAbsoluteExpiry | None = ...
    offer_paths: InvoiceRequestOfferPaths | None = ...
    offer_issuer: InvoiceRequestOfferIssuer | None = ...
    offer_quantity_max: InvoiceRequestOfferQuantityMax | None = ...
    offer_issuer_id: InvoiceRequestOfferIssuerId | None = ...
    invreq_chain: InvoiceRequestInvreqChain | None = ...
    invreq_amount: InvoiceRequestInvreqAmount | None = ...
    invreq_features: InvoiceRequestInvreqFeatures | None = ...
    invreq_quantity: InvoiceRequestInvreqQuantity | None = ...
    invreq_payer_id: InvoiceRequestInvreqPayerId | None = ...
    invreq_payer_note: InvoiceRequestInvreqPayerNote | None = ...
    invreq_paths: InvoiceRequestInvreqPaths | None = ...
    invreq_bip_353_name: InvoiceRequestInvreqBip353Name | None = ...
    signature: InvoiceRequestSignature | None = ...

@subtype
class InvoiceRequestInvreqAmount:
    msat: int

@subtype
class InvoiceRequestInvreqBip353Name:
    name: bytes
    domain: bytes

@subtype
class InvoiceRequestInvreqChain:
    chain: bytes

@subtype
class InvoiceRequestInvreqFeatures:
    features: bytes

@subtype
class InvoiceRequestInvreqMetadata:
    blob: bytes

@subtype
class InvoiceRequestInvreqPaths:
    paths: tuple[BlindedPath, ...]

@subtype
class InvoiceRequestInvreqPayerId:
    key: PublicKey

@subtype
class InvoiceRequestInvreqPayerNote:
    note: str

@subtype
class InvoiceRequestInvreqQuantity:
    quantity: int

@subtype
class InvoiceRequestOfferAbsoluteExpiry:
    seconds_from_epoch: int

@subtype
class InvoiceRequestOfferAmount:
    amount: int

@subtype
class InvoiceRequestOfferChains:
    chains: tuple[bytes, ...]

@subtype
class InvoiceRequestOfferCurrency:
    iso4217: str

@subtype
class InvoiceRequestOfferDescription:
    description: str

@subtype
class InvoiceRequestOfferFeatures:
    features: bytes

@subtype
class InvoiceRequestOfferIssuer:
    issuer: str

@subtype
class InvoiceRequestOfferIssuerId:
    id: PublicKey

@subtype
class InvoiceRequestOfferMetadata:
    data: bytes

@subtype
class InvoiceRequestOfferPaths:
    paths: tuple[BlindedPath, ...]

@subtype
class InvoiceRequestOfferQuantityMax:
    max: int

@subtype
class InvoiceRequestSignature:
    sig: bytes

@subtype
class InvoiceSignature:
    sig: bytes

class MppTimeout(Message): ...

class NodeAnnouncement(Message):
    signature: bytes
    features: bytes
    timestamp: int
    node_id: PublicKey
    rgb_color: bytes
    alias: bytes
    addresses: bytes

@subtype
class Offer:
    offer_chains: OfferOfferChains | None = ...
    offer_metadata: OfferOfferMetadata | None = ...
    offer_currency: OfferOfferCurrency | None = ...
    offer_amount: OfferOfferAmount | None = ...
    offer_description: OfferOfferDescription | None = ...
    offer_features: OfferOfferFeatures | None = ...
    offer_absolute_expiry: OfferOfferAbsoluteExpiry | None = ...
    offer_paths: OfferOfferPaths | None = ...
    offer_issuer: OfferOfferIssuer | None = ...
    offer_quantity_max: OfferOfferQuantityMax | None = ...
    offer_issuer_id: OfferOfferIssuerId | None = ...

@subtype
class OfferOfferAbsoluteExpiry:
    seconds_from_epoch: int

@subtype
class OfferOfferAmount:
    amount: int

@subtype
class OfferOfferChains:
    chains: tuple[bytes, ...]

@subtype
class OfferOfferCurrency:
    iso4217: str

@subtype
class OfferOfferDescription:
    description: str

@subtype
class OfferOfferFeatures:
    features: bytes

@subtype
class OfferOfferIssuer:
    issuer: str

@subtype
class OfferOfferIssuerId:
    id: PublicKey

@subtype
class OfferOfferMetadata:
    data: bytes

@subtype
class OfferOfferPaths:
    paths: tuple[BlindedPath, ...]

@subtype
class OfferOfferQuantityMax:
    max: int

class OnionMessage(Message):
    path_key: PublicKey
    onion_message_packet: bytes

@subtype
class OnionmsgTlv:
    reply_path: OnionmsgTlvReplyPath | None = ...
    encrypted_recipient_data: OnionmsgTlvEncryptedRecipientData | None = ...
    invoice_request: OnionmsgTlvInvoiceRequest | None = ...
    invoice: OnionmsgTlvInvoice | None = ...
    invoice_error: OnionmsgTlvInvoiceError | None = ...

@subtype
class OnionmsgTlvEncryptedRecipientData:
    encrypted_recipient_data: bytes

@subtype
class OnionmsgTlvInvoice:
    inv: Invoice = ...

@subtype
class OnionmsgTlvInvoiceError:
    inverr: InvoiceError = ...

@subtype
class OnionmsgTlvInvoiceRequest:
    invreq: InvoiceRequest = ...

@subtype
class OnionmsgTlvReplyPath:
    path: BlindedPath

class OpenChannel(Message):
    chain_hash: bytes
    temporary_channel_id: bytes
    funding_satoshis: int
    push_msat: int
    dust_limit_satoshis: int
    max_htlc_value_in_flight_msat: int
    channel_reserve_satoshis: int
    htlc_minimum_msat: int
    feerate_per_kw: int
    to_self_delay: int
    max_accepted_htlcs: int
    funding_pubkey: PublicKey
    revocation_basepoint: PublicKey
    payment_basepoint: PublicKey
    delayed_payment_basepoint: PublicKey
    htlc_basepoint: PublicKey
    first_per_commitment_point: PublicKey
    channel_flags: int
    tlvs: OpenChannelTlvs = ...

class OpenChannel2(Message):
    chain_hash: bytes
    temporary_channel_id: bytes
    funding_feerate_perkw: int
    commitment_feerate_perkw: int
    funding_satoshis: int
    dust_limit_satoshis: int
    max_htlc_value_in_flight_msat: int
    htlc_minimum_msat: int
    to_self_delay: int
    max_accepted_htlcs: int
    locktime: int
    funding_pubkey: PublicKey
    revocation_basepoint: PublicKey
    payment_basepoint: PublicKey
    delayed_payment_basepoint: PublicKey
    htlc_basepoint: PublicKey
    first_per_commitment_point: PublicKey
    second_per_commitment_point: PublicKey
    channel_flags: int
    tlvs: OpeningTlvs = ...

@subtype
class OpenChannelTlvs:
    upfront_shutdown_script: OpenChannelTlvsUpfrontShutdownScript | None = ...
    channel_type: OpenChannelTlvsChannelType | None = ...

@subtype
class OpenChannelTlvsChannelType:
    type: bytes

@subtype
class OpenChannelTlvsUpfrontShutdownScript:
    shutdown_scriptpubkey: bytes

@subtype
class OpeningTlvs:
    upfront_shutdown_script: OpeningTlvsUpfrontShutdownScript | None = ...
    channel_type: OpeningTlvsChannelType | None = ...
    require_confirmed_inputs: OpeningTlvsRequireConfirmedInputs | None = ...

@subtype
class OpeningTlvsChannelType:
    type: bytes

@subtype
class OpeningTlvsRequireConfirmedInputs: ...

@subtype
class OpeningTlvsUpfrontShutdownScript:
    shutdown_scriptpubkey: bytes

@subtype
class Payload:
    amt_to_forward: PayloadAmtToForward | None = ...
    outgoing_cltv_value: PayloadOutgoingCltvValue | None = ...
    short_channel_id: PayloadShortChannelId | None = ...
    payment_data: PayloadPaymentData | None = ...
    encrypted_recipient_data: PayloadEncryptedRecipientData | None = ...
    current_path_key: PayloadCurrentPathKey | None = ...
    payment_metadata: PayloadPaymentMetadata | None = ...
    total_amount_msat: PayloadTotalAmountMsat | None = ...

@subtype
class PayloadAmtToForward:
    amt_to_forward: int

@subtype
class PayloadCurrentPathKey:
    path_key: PublicKey

@subtype
class PayloadEncryptedRecipientData:
    encrypted_recipient_data: bytes

@subtype
class PayloadOutgoingCltvValue:
    outgoing_cltv_value: int

@subtype
class PayloadPaymentData:
    payment_secret: bytes
    total_msat: int

@subtype
class PayloadPaymentMetadata:
    payment_metadata: bytes

@subtype
class PayloadShortChannelId:
    short_channel_id: ShortChannelId

@subtype
class PayloadTotalAmountMsat:
    total_msat: int

class PeerStorage(Message):
    blob: bytes

class PeerStorageRetrieval(Message):
    blob: bytes

class PermanentChannelFailure(Message): ...
class PermanentNodeFailure(Message): ...

class Ping(Message):
    num_pong_bytes: int
    ignored: bytes

class Pong(Message):
    ignored: bytes

class QueryChannelRange(Message):
    chain_hash: bytes
    first_blocknum: int
    number_of_blocks: int
    tlvs: QueryChannelRangeTlvs = ...

@subtype
class QueryChannelRangeTlvs:
    query_option: QueryChannelRangeTlvsQueryOption | None = ...

@subtype
class QueryChannelRangeTlvsQueryOption:
    query_option_flags: int

class QueryShortChannelIds(Message):
    chain_hash: bytes
    encoded_short_ids: bytes
    tlvs: QueryShortChannelIdsTlvs = ...

@subtype
class QueryShortChannelIdsTlvs:
    query_flags: QueryShortChannelIdsTlvsQueryFlags | None = ...

@subtype
class QueryShortChannelIdsTlvsQueryFlags:
    encoding_type: int
    encoded_query_flags: bytes

class ReplyChannelRange(Message):
    chain_hash: bytes
    first_blocknum: int
    number_of_blocks: int
    sync_complete: int
    encoded_short_ids: bytes
    tlvs: ReplyChannelRangeTlvs = ...

@subtype
class ReplyChannelRangeTlvs:
    timestamps_tlv: ReplyChannelRangeTlvsTimestampsTlv | None = ...
    checksums_tlv: ReplyChannelRangeTlvsChecksumsTlv | None = ...

@subtype
class ReplyChannelRangeTlvsChecksumsTlv:
    checksums: tuple[ChannelUpdateChecksums, ...]

@subtype
class ReplyChannelRangeTlvsTimestampsTlv:
    encoding_type: int
    encoded_timestamps: bytes

class ReplyShortChannelIdsEnd(Message):
    chain_hash: bytes
    full_information: int

class RequiredChannelFeatureMissing(Message): ...
class RequiredNodeFeatureMissing(Message): ...

class RevokeAndAck(Message):
    channel_id: bytes
    per_commitment_secret: bytes
    next_per_commitment_point: PublicKey

class Shutdown(Message):
    channel_id: bytes
    scriptpubkey: bytes

class SpliceAck(Message):
    channel_id: bytes
    funding_contribution_satoshis: int
    funding_pubkey: PublicKey
    tlvs: SpliceAckTlvs = ...

@subtype
class SpliceAckTlvs:
    require_confirmed_inputs: SpliceAckTlvsRequireConfirmedInputs | None = ...

@subtype
class SpliceAckTlvsRequireConfirmedInputs: ...

class SpliceInit(Message):
    channel_id: bytes
    funding_contribution_satoshis: int
    funding_feerate_perkw: int
    locktime: int
    funding_pubkey: PublicKey
    tlvs: SpliceInitTlvs = ...

@subtype
class SpliceInitTlvs:
    require_confirmed_inputs: SpliceInitTlvsRequireConfirmedInputs | None = ...

@subtype
class SpliceInitTlvsRequireConfirmedInputs: ...

class SpliceLocked(Message):
    channel_id: bytes
    splice_txid: bytes

class StartBatch(Message):
    channel_id: bytes
    batch_size: int
    tlvs: StartBatchTlvs = ...

@subtype
class StartBatchTlvs:
    message_type: StartBatchTlvsMessageType | None = ...

@subtype
class StartBatchTlvsMessageType:
    message_type: int

class Stfu(Message):
    channel_id: bytes
    initiator: int

class TemporaryChannelFailure(Message):
    channel_update: bytes

class TemporaryNodeFailure(Message): ...

class TxAbort(Message):
    channel_id: bytes
    data: bytes

class TxAckRbf(Message):
    channel_id: bytes
    tlvs: TxAckRbfTlvs = ...

@subtype
class TxAckRbfTlvs:
    funding_output_contribution: TxAckRbfTlvsFundingOutputContribution | None = ...
    require_confirmed_inputs: TxAckRbfTlvsRequireConfirmedInputs | None = ...

@subtype
class TxAckRbfTlvsFundingOutputContribution:
    satoshis: int

@subtype
class TxAckRbfTlvsRequireConfirmedInputs: ...

class TxAddInput(Message):
    channel_id: bytes
    serial_id: int
    prevtx: bytes
    prevtx_vout: int
    sequence: int
    tlvs: TxAddInputTlvs = ...

@subtype
class TxAddInputTlvs:
    shared_input_txid: TxAddInputTlvsSharedInputTxid | None = ...

@subtype
class TxAddInputTlvsSharedInputTxid:
    funding_txid: bytes

class TxAddOutput(Message):
    channel_id: bytes
    serial_id: int
    sats: int
    script: bytes

class TxComplete(Message):
    channel_id: bytes

class TxInitRbf(Message):
    channel_id: bytes
    locktime: int
    feerate: int
    tlvs: TxInitRbfTlvs = ...

@subtype
class TxInitRbfTlvs:
    funding_output_contribution: TxInitRbfTlvsFundingOutputContribution | None = ...
    require_confirmed_inputs: TxInitRbfTlvsRequireConfirmedInputs | None = ...

@subtype
class TxInitRbfTlvsFundingOutputContribution:
    satoshis: int

@subtype
class TxInitRbfTlvsRequireConfirmedInputs: ...

class TxRemoveInput(Message):
    channel_id: bytes
    serial_id: int

class TxRemoveOutput(Message):
    channel_id: bytes
    serial_id: int

class TxSignatures(Message):
    channel_id: bytes
    txid: bytes
    witnesses: tuple[Witness, ...]
    tlvs: TxSignaturesTlvs = ...

@subtype
class TxSignaturesTlvs:
    shared_input_signature: TxSignaturesTlvsSharedInputSignature | None = ...

@subtype
class TxSignaturesTlvsSharedInputSignature:
    signature: bytes

class UnknownNextPeer(Message): ...

class UpdateAddHtlc(Message):
    channel_id: bytes
    id: int
    amount_msat: int
    payment_hash: bytes
    cltv_expiry: int
    onion_routing_packet: bytes
    tlvs: UpdateAddHtlcTlvs = ...

@subtype
class UpdateAddHtlcTlvs:
    blinded_path: UpdateAddHtlcTlvsBlindedPath | None = ...

@subtype
class UpdateAddHtlcTlvsBlindedPath:
    path_key: PublicKey

class UpdateFailHtlc(Message):
    channel_id: bytes
    id: int
    reason: bytes
    tlvs: UpdateFailHtlcTlvs = ...

@subtype
class UpdateFailHtlcTlvs:
    attribution_data: UpdateFailHtlcTlvsAttributionData | None = ...

@subtype
class UpdateFailHtlcTlvsAttributionData:
    htlc_hold_times: tuple[int, ...]
    truncated_hmacs: bytes

class UpdateFailMalformedHtlc(Message):
    channel_id: bytes
    id: int
    sha256_of_onion: bytes
    failure_code: int

class UpdateFee(Message):
    channel_id: bytes
    feerate_per_kw: int

class UpdateFulfillHtlc(Message):
    channel_id: bytes
    id: int
    payment_preimage: bytes
    tlvs: UpdateFulfillHtlcTlvs = ...

@subtype
class UpdateFulfillHtlcTlvs:
    attribution_data: UpdateFulfillHtlcTlvsAttributionData | None = ...

@subtype
class UpdateFulfillHtlcTlvsAttributionData:
    htlc_hold_times: tuple[int, ...]
    truncated_hmacs: bytes

class Warning(Message):
    channel_id: bytes
    data: bytes

@subtype
class Witness:
    witness_data: bytes
