import fc from 'fast-check';
import t from 'tap';
import { type Column, cutText, formatTable, wrapText } from '../../src/control/text-table.js';

const COLUMNS: Column[] = [{ heading: 'NAME' }, { heading: 'WHERE', dropFirst: 1 }, { heading: 'N', align: 'right' }];

t.test('columns are as wide as they must be, numbers flush right, no blanks at the end', async (t) => {
  t.same(
    formatTable(COLUMNS, [
      ['a', 'here', '1'],
      ['bcdef', '', '100'],
    ]),
    ['NAME   WHERE    N', 'a      here     1', 'bcdef         100'],
  );
});

t.test('without room a column goes, then words are cut', async (t) => {
  const rows = [['abcdefghij', 'here', '1']];
  t.same(formatTable(COLUMNS, rows, 15), ['NAME        N', 'abcdefghij  1']);
  t.same(formatTable(COLUMNS, rows, 10), ['NAME     N', 'abcdef…  1']);
});

t.test('lines break between words and are indented', async (t) => {
  t.same(wrapText('  one two three four', 11), ['  one two', '    three', '    four']);
  t.same(wrapText('short', 80), ['short']);
});

t.test('what peers say cannot steer the terminal', async (t) => {
  t.equal(cutText('a\u001b[2Jb\n', 80), 'a?[2Jb?');
  t.same(wrapText('a\u001b]0;x\u0007', 80), ['a?]0;x?']);
});

t.test('nothing is ever longer than the width', async (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string(), fc.string(), fc.string())),
      fc.string(),
      fc.integer({ min: 1, max: 100 }),
      (rows, text, width) => {
        for (const line of [...formatTable(COLUMNS, rows, width), ...wrapText(text, width)]) if ([...line].length > width) return false;
        return true;
      },
    ),
  );
  t.pass();
});
