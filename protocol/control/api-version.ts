/** Raised when a route changes so that older clients would misread it; clients refuse another number. */
export const API_VERSION = 1;
