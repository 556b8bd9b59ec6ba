/** Raised when a route changes so that older clients would misread it; clients refuse another number. */
export const API_VERSION = 1;

/** What a request that opens a link asks to speak from then on (RFC 9110 section 7.8). */
export const LINK_UPGRADE = 'agentmesh-link';
