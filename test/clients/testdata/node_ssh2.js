const { Client } = require('ssh2')

const [host, port, username] = process.argv.slice(2)
const client = new Client()
client.on('ready', () => {
  client.exec('true', (err, stream) => {
    if (err) throw err
    stream.on('close', () => client.end()).resume()
  })
})
client.connect({ host, port: Number(port), username, agent: process.env.SSH_AUTH_SOCK })
