import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';

const heard = new WeakSet<Socket>();

/**
 * Node takes its own listener from the socket before a request leaves whose answer is whole: if it is cancelled just
 * then, the error would be nobody's, which ends the process. Whoever waits for the answer learns of it without.
 */
export function hearSocketErrors(request: ClientRequest): void {
  request.once('socket', (socket) => {
    if (!heard.has(socket)) socket.on('error', () => undefined);
    heard.add(socket);
  });
}
