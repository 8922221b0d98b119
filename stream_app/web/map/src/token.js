// A server with a token: it is asked for once, and then a cookie that this script cannot read stands for it.
const $ = (id) => document.getElementById(id);

function askToken() {
  const dialog = $('token-ask');
  dialog.showModal();
  dialog.addEventListener('cancel', (event) => event.preventDefault());
  return new Promise((done) => {
    dialog.querySelector('form').onsubmit = async (event) => {
      event.preventDefault();
      const answer = await fetch('map/token', {method: 'POST', body: $('token').value});
      if (answer.ok) {
        dialog.close();
        done();
      } else {
        $('token-wrong').textContent = (await answer.json()).error.message;
      }
    };
  });
}

export async function readConfig() {
  for (;;) {
    const answer = await fetch('map/config');
    if (answer.ok) return answer.json();
    if (answer.status !== 401) throw new Error(`the server answers ${answer.status}`);
    await askToken();
  }
}
