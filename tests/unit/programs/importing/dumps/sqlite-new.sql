PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE users (
    username text NOT NULL,
    server_host text NOT NULL,
    password text NOT NULL,
    serverkey text NOT NULL DEFAULT '',
    salt text NOT NULL DEFAULT '',
    iterationcount integer NOT NULL DEFAULT 0,
    created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (server_host, username)
);
INSERT INTO users VALUES('alice','a.example','C:\new '' '''' " ; -- x','','',0,'2026-01-02 03:04:05');
INSERT INTO users VALUES('zoë','a.example','Zauberflöte','','',0,'2026-01-02 03:04:05');
INSERT INTO users VALUES('bob','a.example','sha256:WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=','wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=','W22ZaJ0SNY7soEsUEjb6gQ==',4096,'2026-01-02 03:04:05');
CREATE TABLE archive (
    username text NOT NULL,
    server_host text NOT NULL,
    timestamp BIGINT UNSIGNED NOT NULL,
    peer text NOT NULL,
    bare_peer text NOT NULL,
    xml text NOT NULL,
    txt text,
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind text,
    nick text,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO archive VALUES('alice','a.example',1,'','','',replace('it''s\nINSERT INTO users (username, password) VALUES (''evil'',''x'');','\n',char(10)),1,NULL,NULL,'2026-11-29 20:53:49');
COMMIT;
