// The current Node driver. Usage: node driver.js URI SINGLE_URI DATABASE, with NODE_PATH naming the pinned packages.
'use strict';

require('./harness').main({
  ...require('./documents'),
  ...require('./cursors'),
  ...require('./streams'),
  ...require('./sessions'),
  ...require('./files'),
  ...require('./options'),
  ...require('./topology'),
});
