"""slapd, dovecot, saslauthd, and a web application, with the same users."""

import base64
import hashlib
import os
import pwd
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from support import canary
from support.backends import HOST, Backend, certificate, given, listens, owner, unprivileged, web
from support.components import command, missing
from support.ports import free_ports

BASE = "dc=example,dc=com"
SERVICE = f"cn=service,{BASE}"
SERVICE_PASSWORD = canary.right("service")


class Web(Backend):
    """Our own, with HTTPS."""

    example = "http_backend.py"

    def __init__(self, folder: Path, *, tls: bool = True) -> None:
        super().__init__(folder)
        (self.port,) = free_ports(1)
        self.files = certificate(folder) if tls else ()
        accounts = folder / "accounts"
        accounts.write_text("".join(f"{user} {password}\n" for user, password in self.accounts.items()))
        canary.knows(accounts, "what the application knows")
        self.log = folder / "log"
        self.url = f"http{'s' if tls else ''}://localhost:{self.port}/auth"
        self.settings = {"URL": self.url, "CA": str(self.files[0]) if tls else None}

    def words(self) -> Sequence[object]:
        return [sys.executable, "-I", web.__file__, self.port, self.log, *self.files]

    def answers(self) -> bool:
        return listens(self.port)


class Slapd(Backend):
    """OpenLDAP's, with an overlay whose entries below ou=trouble are answered with any result.

    Unlike by default, and like others, it takes a bind without a name, or without a password, for an anonymous one.
    Two entries have one mail address; one entry is a referral; `dora` has no password, `eve` is locked.
    """

    example = "ldap_bind.py"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = command("slapd", "slapd")
        if subprocess.run(["/usr/bin/python3", "-Ic", "import ldap"], capture_output=True, check=False).returncode:
            missing("Python's module ldap", "python3-ldap")
        self.port, self.tls_port, self.elsewhere = free_ports(3)
        self.ca, key = certificate(folder)
        (folder / "database").mkdir()
        conf = folder / "slapd.conf"
        conf.write_text(self._configuration(key))
        entries = folder / "entries.ldif"
        entries.write_text(self._entries())
        secret = folder / "service.password"
        secret.write_text(SERVICE_PASSWORD + "\n")
        canary.knows(secret, "the service's password")
        self.settings = {
            "URI": f"ldap://127.0.0.1:{self.port}", "BASE": BASE, "CA": str(self.ca), "FILTER": "(uid={user})",
            "BIND_DN": SERVICE, "PASSWORD_FILE": str(secret),
        }  # fmt: skip
        given(folder)
        add = [*unprivileged(), command("slapadd", "slapd"), "-f", str(conf), "-l", str(entries)]
        subprocess.run(add, check=True, capture_output=True, timeout=60)

    def words(self) -> Sequence[object]:
        urls = f"ldap://127.0.0.1:{self.port} ldaps://127.0.0.1:{self.tls_port} ldaps://127.0.0.2:{self.tls_port} ldap://127.0.0.2:{self.port}"
        return [*unprivileged(), self.server, "-d", "stats", "-h", urls, "-f", self.folder / "slapd.conf"]

    def answers(self) -> bool:
        addresses = ("127.0.0.1", "127.0.0.2")  # one after the other
        return all(listens(port, address) for port in (self.port, self.tls_port) for address in addresses)

    def _configuration(self, key: Path) -> str:
        schemas = "".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson"))
        return f"""{schemas}
pidfile {self.folder}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload retcode
moduleload ppolicy
allow bind_anon_cred bind_anon_dn
TLSCertificateFile {self.ca}
TLSCertificateKeyFile {key}
database mdb
maxsize 10485760
suffix "{BASE}"
directory {self.folder}/database
rootdn "cn=root,{BASE}"
access to attrs=userPassword by dn="{SERVICE}" write by anonymous auth
access to * by * read
overlay ppolicy
ppolicy_default "cn=policy,{BASE}"
overlay retcode
retcode-parent "ou=trouble,{BASE}"
retcode-item "cn=busy" 0x33 op=bind
retcode-item "cn=unavailable" 0x34 op=bind
retcode-item "cn=unwilling" 0x35 op=bind
retcode-item "cn=other" 0x50 op=bind
retcode-item "cn=slow" 0x03 op=bind
"""

    def _entries(self) -> str:
        people = f"ou=people,{BASE}"
        rows = [f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: x"]
        rows += [f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit" for name in ("people", "trouble")]
        rows.append(f"dn: {SERVICE}\nobjectClass: person\nsn: x\nuserPassword: {hashed(SERVICE_PASSWORD)}")
        policy = "pwdAttribute: userPassword\npwdMinLength: 4\npwdCheckQuality: 2\npwdLockout: TRUE"
        rows.append(f"dn: cn=policy,{BASE}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\n{policy}")
        more = {"bob": canary.right("bob"), "eve": canary.right("eve"), "dora": ""}
        for user, password in {**self.accounts, **more}.items():
            mail = "shared@example.com" if user in ("alice", "bob") else f"{user}@example.com"
            row = f"dn: uid={user},{people}\nobjectClass: inetOrgPerson\ncn: x\nsn: x\nmail: {mail}"
            locked = "\npwdAccountLockedTime: 000001010000Z" if user == "eve" else ""
            rows.append(row + (f"\nuserPassword: {hashed(password)}" if password else "") + locked)
        rows.append(
            f"dn: cn=there,{people}\nobjectClass: referral\nobjectClass: extensibleObject\n"
            f"ref: ldap://127.0.0.1:{self.elsewhere}/cn=there,{people}"
        )
        return "\n\n".join(rows) + "\n"


def hashed(password: str) -> str:
    salt = os.urandom(8)
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


class Dovecot(Backend):
    """Dovecot's IMAP, as somebody who is not root; with what the example says of its settings."""

    example = "imap_login.py"
    at_a_time = 12  # it says no after half a second at the soonest

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = command("dovecot", "dovecot-imapd")
        self.plain_port, self.port = free_ports(2)
        self.ca, key = certificate(folder)
        self.users = folder / "users"
        self.users.write_text(
            "".join(f"{user}@{HOST}:{hashed(password)}::\n" for user, password in self.accounts.items())
        )
        self.settings = {"HOST, PORT": ("localhost", self.port), "CA": str(self.ca)}
        broken = folder / "broken"
        broken.write_text("#!/bin/sh\nexit 111\n")
        broken.chmod(0o755)
        uid, gid = owner()
        user = pwd.getpwuid(uid).pw_name
        (folder / "dovecot.conf").write_text(f"""
base_dir = {folder}/run
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
default_internal_user = {user}
default_login_user = {user}
default_internal_group = {subprocess.run(["id", "-gn", user], capture_output=True, text=True, check=True).stdout}
ssl = yes
ssl_cert = <{self.ca}
ssl_key = <{key}
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {self.plain_port}
  }}
  inet_listener imaps {{
    port = {self.port}
    ssl = yes
  }}
}}
passdb {{
  driver = passwd-file
  args = {self.users}
  username_filter = !broken@*
}}
passdb {{
  driver = checkpassword
  args = {broken}
  username_filter = broken@*
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail
}}
""")
        given(folder)

    def words(self) -> Sequence[object]:
        return [*unprivileged(), self.server, "-F", "-c", self.folder / "dovecot.conf"]

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.plain_port), 5) as client:
                return client.recv(1000).startswith(b"* OK")
        except OSError:
            return False


class Saslauthd(Backend):
    """saslauthd and PAM's pam_unix, where /etc/passwd, /etc/shadow and /etc/pam.d are others than the machine's.

    `carol` has ODD for a password; `eve` has expired; `mallory` is an account of the system; `dora` has no password.
    """

    example = "pam_saslauthd.py"
    mounts = ("passwd", "shadow", "pam.d")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = command("saslauthd", "sasl2-bin")
        if os.geteuid():
            missing("root, to mount another /etc/shadow", "sudo")
        passwd, shadow = Path("/etc/passwd").read_text(), "root:*:19000::::::\n"
        people = {**self.accounts, "eve": canary.right("eve"), "mallory": canary.right("mallory")}
        for number, (user, password) in enumerate(people.items()):
            passwd += f"{user}:x:{500 if user == 'mallory' else 50000 + number}:50000::/:/bin/false\n"
            shadow += f"{user}:{crypted(password)}:19000:::::{'1' if user == 'eve' else ''}:\n"
        (folder / "passwd").write_text(passwd + "dora:x:50100:50000::/:/bin/false\n")
        (folder / "shadow").write_text(shadow + "dora::19000::::::\n")
        (folder / "pam.d").mkdir()
        (folder / "pam.d/xmpp").write_text("auth required pam_unix.so nodelay\naccount required pam_unix.so\n")
        (folder / "pam.d/other").write_text("auth required pam_deny.so\naccount required pam_deny.so\n")
        (folder / "run").mkdir()
        self.settings = {"SOCKET": f"{folder}/run/mux"}
        binds = "".join(f"mount --bind {folder}/{name} /etc/{name}; " for name in self.mounts)
        script = f"{binds} touch {folder}/mounted; exec sleep infinity"
        self.space = self.run([command("unshare", "util-linux"), "--mount", "sh", "-ec", script])
        self.prefix = ("nsenter", f"--target={self.space.pid}", "--mount", "--")
        self.wait(self.space, (folder / "mounted").exists)

    def words(self) -> Sequence[object]:
        return [*self.prefix, self.server, "-d", "-a", "pam", "-n", "1", "-m", f"{self.folder}/run"]

    def close(self) -> None:
        super().close()
        self.space.kill()
        self.space.wait()

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(f"{self.folder}/run/mux") == 0


def crypted(password: str) -> str:
    words = [command("openssl", "openssl"), "passwd", "-6", "-stdin"]
    return subprocess.run(words, input=f"{password}\n", text=True, capture_output=True, check=True, timeout=60).stdout[
        :-1
    ]


ALL = {"ldap": Slapd, "http": Web, "imap": Dovecot, "pam": Saslauthd}
