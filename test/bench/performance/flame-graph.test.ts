import t from 'tap';
import { boxesOf, foldStacks } from './flame-graph.js';

const SCRIPT = `
  100
	ffffffff81000010 udp_sendmsg
	    7f0000000010 __sendmsg
	    7f0000000020 v8impl::(anonymous namespace)::FunctionCallbackWrapper::Invoke(v8::FunctionCallbackInfo<v8::Value> const&)
	    3f0000000010 JS:*sendData file:///srv/dist/src/mptcp-over-udp/tcp/tcp-output.js:52:25
	    7f0000000030 Builtins_JSEntryTrampoline
	    7f0000000040 uv_run

  100
	    3f0000000010 JS:*sendData file:///srv/dist/src/mptcp-over-udp/tcp/tcp-output.js:52:25
	    7f0000000030 Builtins_JSEntryTrampoline
	    7f0000000040 uv_run

  200
	    7f0000000050 epoll_wait
	    7f0000000040 uv_run

  300
	    7f0000000050 other_process
`;

t.test('stacks are folded by process, from the first JavaScript on where there is any', (t) => {
  const root = foldStacks(
    SCRIPT,
    new Map([
      [100, 'client'],
      [200, 'gateway'],
    ]),
  );
  t.equal(root.samples, 3, 'of the two daemons alone');
  const shown = boxesOf(root).map(({ name, depth, part, kind }) => `${depth} ${name} ${part} ${kind}`);
  t.same(shown, [
    '0 all 100.0 % kernel and C',
    '1 client 66.7 % kernel and C',
    '2 sendData tcp-output 66.7 % JavaScript',
    '3 v8impl::FunctionCallbackWrapper::Invoke 33.3 % C++',
    '4 __sendmsg 33.3 % kernel and C',
    '5 udp_sendmsg 33.3 % kernel and C',
    '1 gateway 33.3 % kernel and C',
    '2 uv_run 33.3 % kernel and C',
    '3 epoll_wait 33.3 % kernel and C',
  ]);
  t.end();
});

t.test('a box lies above the one that called it, and within it', (t) => {
  const boxes = boxesOf(
    foldStacks(
      SCRIPT,
      new Map([
        [100, 'client'],
        [200, 'gateway'],
      ]),
    ),
  );
  for (const { depth, x, x2 } of boxes.slice(1)) {
    t.ok(boxes.some((below) => below.depth === depth - 1 && below.x <= x + 1e-9 && below.x2 >= x2 - 1e-9));
  }
  t.end();
});
