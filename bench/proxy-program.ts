/**
 * What stands at the ends of a proxy, and the least that can stand between, each as a process that loads nothing else:
 *
 *   stdio            an MCP server that answers initialize, tools/list and echo
 *   http [PORT]      the same over Streamable HTTP; prints its port
 *   pipe COMMAND…    bytes both ways
 *   lines COMMAND…   lines both ways, each parsed and written again
 */
interface Request {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: {
    readonly protocolVersion?: string;
    readonly arguments?: { readonly message?: string; readonly times?: number };
  };
}

const TOOL = {
  name: 'echo',
  inputSchema: { type: 'object', properties: { message: { type: 'string' }, times: { type: 'integer' } } },
};

function resultOf({ method, params }: Request): object {
  if (method === 'initialize')
    return {
      protocolVersion: params?.protocolVersion,
      capabilities: { tools: {} },
      serverInfo: { name: 'bare', version: '1' },
    };
  if (method === 'tools/list') return { tools: [TOOL] };
  const { message, times = 1 } = params?.arguments ?? {};
  return method === 'tools/call' ? { content: [{ type: 'text', text: message?.repeat(times) }] } : {};
}

/** Undefined for a notification. */
const answerTo = (request: Request): string | undefined =>
  request.id === undefined ? undefined : JSON.stringify({ jsonrpc: '2.0', id: request.id, result: resultOf(request) });

function onLines(stream: NodeJS.ReadableStream, take: (line: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) take(line);
  });
}

const [mode, program = '', ...args] = process.argv.slice(2);
if (mode === 'stdio') {
  onLines(process.stdin, (line) => {
    const answer = answerTo(JSON.parse(line) as Request);
    if (answer !== undefined) process.stdout.write(`${answer}\n`);
  });
} else if (mode === 'http') {
  const { createServer } = await import('node:http');
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.once('end', () => {
      if (request.method !== 'POST') return response.writeHead(405).end();
      const answer = answerTo(JSON.parse(Buffer.concat(chunks).toString()) as Request);
      if (answer === undefined) return response.writeHead(202).end();
      return response.writeHead(200, { 'content-type': 'application/json' }).end(answer);
    });
  });
  server.listen(Number(program), '127.0.0.1', () => console.log((server.address() as { port: number }).port));
} else {
  const { spawn } = await import('node:child_process');
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  child.once('exit', () => process.exit());
  for (const [from, to] of [
    [process.stdin, child.stdin],
    [child.stdout, process.stdout],
  ] as const) {
    if (mode === 'pipe') from.pipe(to);
    else onLines(from, (line) => to.write(`${JSON.stringify(JSON.parse(line))}\n`));
  }
  process.stdin.once('end', () => child.stdin.end());
}
