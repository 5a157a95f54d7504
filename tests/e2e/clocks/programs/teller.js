// Date has milliseconds: the moment at which one begins is told.
require("readline").createInterface({ input: process.stdin }).on("line", () => {
  const before = Date.now();
  let now;
  while ((now = Date.now()) === before);
  process.stdout.write(now + "000000\n");
});
