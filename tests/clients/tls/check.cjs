// Asks each host as Node.js programs do: check.cjs PORT HOST... prints a line "HOST ok" or "HOST CODE: message" each.
const https = require('https');
const [port, ...hosts] = process.argv.slice(2);

const ask = (host) =>
  new Promise((done) => {
    const options = { host: '127.0.0.1', port, servername: host, headers: { Host: host }, agent: false };
    const request = https.get(options, (response) => {
      let body = '';
      response.on('data', (part) => (body += part));
      response.on('end', () => done(body.endsWith('end\n') && response.complete ? 'ok' : 'cut off'));
      response.on('error', (e) => done(`${e.code}: ${e.message}`));
    });
    request.on('error', (e) => done(`${e.code}: ${e.message}`));
  });

(async () => {
  for (const host of hosts) console.log(host, (await ask(host)).split('\n')[0]);
})();
