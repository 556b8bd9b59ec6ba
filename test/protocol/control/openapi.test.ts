import { describe, expect, test } from 'vitest';
import { createOpenApiDocument, HTTP_STATUS, OPERATION_IDS, routeOf } from '../../../protocol/control/index.ts';
import type { ErrorCode } from '../../../protocol/index.ts';

type Node = { readonly [name: string]: unknown };
const document = createOpenApiDocument('1.2.3') as Node;
const at = (pointer: string): unknown =>
  pointer
    .split('/')
    .slice(1)
    .reduce<unknown>(
      (node, part) => (node as Node | undefined)?.[part.replaceAll('~1', '/').replaceAll('~0', '~')],
      document,
    );

function* nodes(node: unknown): Generator<Node> {
  if (typeof node !== 'object' || node === null) return;
  if (!Array.isArray(node)) yield node as Node;
  for (const value of Object.values(node)) yield* nodes(value);
}
const operations = Object.entries(document.paths as Record<string, Record<string, Node>>).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

describe('the OpenAPI document', () => {
  test('is of version 3.1 and JSON to the last member', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.info).toMatchObject({
      title: expect.any(String),
      version: '1.2.3',
      license: { identifier: 'Apache-2.0' },
    });
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });

  test('has every row of the table once, and no other', () => {
    expect(operations.map(({ operation }) => String(operation.operationId)).toSorted()).toEqual(
      OPERATION_IDS.toSorted(),
    );
    for (const { path, method, operation } of operations) {
      const route = routeOf(operation.operationId as (typeof OPERATION_IDS)[number]);
      expect([route.method.toLowerCase(), route.path]).toEqual([method, path]);
    }
  });

  test('has no reference that leads nowhere, and no component that nothing refers to but named values', () => {
    const references = [...nodes(document)].map((node) => node.$ref).filter((ref) => ref !== undefined);
    expect(references.length).toBeGreaterThan(200);
    expect(references.filter((ref) => typeof ref !== 'string' || at(ref.slice(1)) === undefined)).toEqual([]);
    const names = Object.keys((document.components as { schemas: Node }).schemas);
    expect(names.length).toBeGreaterThan(50);
    const direct = ['Livez', 'Readyz', 'Status', 'Agent', 'Problem', 'Event', 'DidDocument', 'ChainReport'];
    expect(direct.filter((name) => !names.includes(name))).toEqual([]);
  });

  test('declares each parameter of a path, and none besides', () => {
    for (const { path, operation } of operations) {
      const parameters = (operation.parameters ?? []) as { name: string; in: string; required: boolean }[];
      const inPath = parameters.filter((parameter) => parameter.in === 'path');
      expect(inPath.map(({ name }) => `{${name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
      expect(inPath.every(({ required }) => required)).toBe(true);
    }
  });

  test('gives every operation an answer, and problems with each code under its status', () => {
    for (const { operation } of operations) {
      const responses = operation.responses as Record<string, { content: Record<string, { schema: Node }> }>;
      expect(Object.keys(responses)).toContain(operation.operationId === 'link' ? '101' : '200');
      for (const [status, { content }] of Object.entries(responses)) {
        const problem = content['application/problem+json'];
        if (problem === undefined) continue;
        const [, narrowed] = (problem.schema as { allOf: [Node, { properties: { code: { enum: ErrorCode[] } } }] })
          .allOf;
        expect(narrowed.properties.code.enum.length).toBeGreaterThan(0);
        expect(narrowed.properties.code.enum.filter((code) => HTTP_STATUS[code] !== Number(status))).toEqual([]);
      }
    }
  });

  test('says who may call: operator, agent or anyone', () => {
    for (const { operation } of operations) {
      const { who } = routeOf(operation.operationId as (typeof OPERATION_IDS)[number]);
      const schemes = (operation.security as Node[]).flatMap((one) => Object.keys(one));
      expect(schemes).toEqual({ operator: ['operator'], agent: ['operator', 'agentToken'], anyone: [] }[who]);
    }
  });

  test('closes every object of a request but facts, arguments, definitions and maps by name, which are their maker’s', () => {
    const bodies = OPERATION_IDS.map((operationId) => routeOf(operationId).body).filter((body) => body !== undefined);
    expect(bodies.length).toBeGreaterThan(15);
    let open = 0;
    for (const node of nodes(JSON.parse(JSON.stringify(bodies)))) {
      const isFacts = node.patternProperties !== undefined;
      if (isFacts) open += 1;
      if (node.type === 'object' && !isFacts) expect(node.additionalProperties).toBe(false);
    }
    expect(open).toBe(14);
  });
});
