-- Sample films for etl-engine. Load them into an empty database, or again into the same one:
--
--     psql -v ON_ERROR_STOP=1 -q -f scripts/movies.sql
--
-- Everything stands in the schema "content", which is dropped and made anew. Ids and times are computed from the
-- names, so that each load gives the same rows. Titles, years and names are facts, but for the shorts at the end,
-- which we made up to have odd titles; descriptions and ratings are our own.

BEGIN;
SET LOCAL client_encoding = 'UTF8';
SET LOCAL client_min_messages = warning;
SET LOCAL timezone = 'UTC';

-- gen_random_uuid() is the server's own from PostgreSQL 13 on.
SELECT current_setting('server_version_num')::int < 130000 AS older \gset
\if :older
  CREATE EXTENSION IF NOT EXISTS pgcrypto;
\endif

DROP SCHEMA IF EXISTS content CASCADE;
CREATE SCHEMA content;

CREATE TABLE content.film_work (
    created       timestamptz NOT NULL DEFAULT now(),
    modified      timestamptz NOT NULL DEFAULT now(),
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title         text NOT NULL,
    description   text,
    creation_date timestamptz,
    rating        double precision,
    type          varchar(10) NOT NULL DEFAULT 'movie',
    file_path     varchar(100) NOT NULL DEFAULT ''
);

CREATE TABLE content.genre (
    created       timestamptz NOT NULL DEFAULT now(),
    modified      timestamptz NOT NULL DEFAULT now(),
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name          varchar(255) NOT NULL UNIQUE,
    description   text
);

CREATE TABLE content.person (
    created       timestamptz NOT NULL DEFAULT now(),
    modified      timestamptz NOT NULL DEFAULT now(),
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    full_name     text NOT NULL
);

CREATE TABLE content.genre_film_work (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created       timestamptz NOT NULL DEFAULT now(),
    film_work_id  uuid NOT NULL REFERENCES content.film_work ON DELETE CASCADE,
    genre_id      uuid NOT NULL REFERENCES content.genre ON DELETE CASCADE,
    modified      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (film_work_id, genre_id)
);

CREATE TABLE content.person_film_work (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    role          varchar(10) NOT NULL,
    created       timestamptz NOT NULL DEFAULT now(),
    film_work_id  uuid NOT NULL REFERENCES content.film_work ON DELETE CASCADE,
    person_id     uuid NOT NULL REFERENCES content.person ON DELETE CASCADE,
    modified      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (film_work_id, person_id, role)
);

-- One line per film. Several names are separated by commas; "#2" tells apart two people who share a name.
CREATE TEMP TABLE film (
    title text, year int, rating float8, type text,
    genres text, directors text, actors text, writers text, description text
) ON COMMIT DROP;

COPY film FROM stdin (DELIMITER '|', NULL '');
The Shawshank Redemption|1994|9.3|movie|Drama, Crime|Frank Darabont|Tim Robbins, Morgan Freeman, Bob Gunton|Stephen King, Frank Darabont|A banker sentenced for life keeps hope alive behind prison walls, one letter and one small hammer at a time.
The Godfather|1972|9.2|movie|Drama, Crime|Francis Ford Coppola|Marlon Brando, Al Pacino, James Caan, Diane Keaton|Mario Puzo, Francis Ford Coppola|The youngest son of a mafia family wanted nothing of its business until the day his father was shot.
The Godfather Part II|1974|9.0|movie|Drama, Crime|Francis Ford Coppola|Al Pacino, Robert De Niro, Diane Keaton|Mario Puzo, Francis Ford Coppola|While Michael tightens his grip on the family, memories show how his father came to power in New York.
12 Angry Men|1957|9.0|movie|Drama|Sidney Lumet|Henry Fonda, Lee J. Cobb, Martin Balsam|Reginald Rose|One juror asks eleven tired men to think again before they send a boy to his death.
Schindler's List|1993|9.0|movie|Drama, History, War|Steven Spielberg|Liam Neeson, Ben Kingsley, Ralph Fiennes|Steven Zaillian|A manufacturer who came to profit from the war spends his whole fortune to save his workers.
Pulp Fiction|1994|8.9|movie|Crime, Drama|Quentin Tarantino|John Travolta, Samuel L. Jackson, Uma Thurman, Quentin Tarantino|Quentin Tarantino, Roger Avary|Two talkative killers, a boxer and a gangster's wife cross paths over a briefcase, a watch and a milkshake.
Reservoir Dogs|1992|8.3|movie|Crime, Thriller|Quentin Tarantino|Harvey Keitel, Tim Roth, Steve Buscemi, Quentin Tarantino|Quentin Tarantino|After a robbery goes wrong, six strangers named for colours try to find out who among them is a policeman.
Forrest Gump|1994|8.8|movie|Drama, Romance|Robert Zemeckis|Tom Hanks, Robin Wright, Gary Sinise|Eric Roth|A man with a slow mind and a warm heart runs through three decades of American history.
Back to the Future|1985|8.5|movie|Comedy, Science Fiction, Adventure|Robert Zemeckis|Michael J. Fox, Christopher Lloyd, Lea Thompson|Robert Zemeckis, Bob Gale|A teenager drives a time machine into 1955 and must get his own parents to fall in love.
Fight Club|1999|8.8|movie|Drama|David Fincher|Brad Pitt, Edward Norton, Helena Bonham Carter|Jim Uhls|A sleepless office worker and a soap maker start an underground club with one famous rule.
Se7en|1995|8.6|movie|Crime, Thriller|David Fincher|Brad Pitt, Morgan Freeman, Gwyneth Paltrow|Andrew Kevin Walker|Two detectives follow a murderer who takes the deadly sins for his programme.
Inception|2010|8.8|movie|Science Fiction, Action|Christopher Nolan|Leonardo DiCaprio, Elliot Page, Tom Hardy|Christopher Nolan|A thief who steals secrets from dreams is hired to plant one instead.
Interstellar|2014|8.7|movie|Science Fiction, Drama, Adventure|Christopher Nolan|Matthew McConaughey, Anne Hathaway, Jessica Chastain|Christopher Nolan, Jonathan Nolan|A pilot leaves his daughter and a dying Earth to look for another home on the far side of a wormhole.
Memento|2000|8.4|movie|Thriller, Mystery|Christopher Nolan|Guy Pearce, Carrie-Anne Moss, Joe Pantoliano|Christopher Nolan, Jonathan Nolan|A man who cannot form new memories hunts his wife's killer with photographs and tattoos.
The Dark Knight|2008|9.0|movie|Action, Crime|Christopher Nolan|Christian Bale, Heath Ledger, Aaron Eckhart|Christopher Nolan, Jonathan Nolan|A clown without a plan tests how much chaos a city and its masked guardian can bear.
Oppenheimer|2023|8.3|movie|Drama, History|Christopher Nolan|Cillian Murphy, Emily Blunt, Robert Downey Jr.|Christopher Nolan|The physicist who led the making of the atomic bomb is judged by others and by himself.
The Matrix|1999|8.7|movie|Science Fiction, Action|Lana Wachowski, Lilly Wachowski|Keanu Reeves, Laurence Fishburne, Carrie-Anne Moss|Lana Wachowski, Lilly Wachowski|A programmer learns that the world is a simulation and that he may rewrite its rules.
Star Wars|1977|8.6|movie|Science Fiction, Adventure|George Lucas|Mark Hamill, Harrison Ford, Carrie Fisher, Alec Guinness|George Lucas|A farm boy, a smuggler and a princess steal the plans of a moon-sized battle station.
The Empire Strikes Back|1980|8.7|movie|Science Fiction, Adventure|Irvin Kershner|Mark Hamill, Harrison Ford, Carrie Fisher|Leigh Brackett, Lawrence Kasdan|The rebels flee across ice and clouds while a young knight learns a truth about his father.
Raiders of the Lost Ark|1981|8.4|movie|Adventure, Action|Steven Spielberg|Harrison Ford, Karen Allen|Lawrence Kasdan|An archaeologist with a whip races soldiers to a golden chest buried in the sand.
Jaws|1975|8.1|movie|Thriller, Adventure|Steven Spielberg|Roy Scheider, Robert Shaw, Richard Dreyfuss|Peter Benchley, Carl Gottlieb|A police chief who hates the water goes to sea after a shark that feeds on his town's beaches.
E.T. the Extra-Terrestrial|1982|7.9|movie|Family, Science Fiction|Steven Spielberg|Henry Thomas, Drew Barrymore|Melissa Mathison|A lonely boy hides a visitor from the stars in his closet and helps him to phone home.
Jurassic Park|1993|8.2|movie|Science Fiction, Adventure|Steven Spielberg|Sam Neill, Laura Dern, Jeff Goldblum|Michael Crichton, David Koepp|The first guests of an island park meet dinosaurs that no fence can hold.
Alien|1979|8.5|movie|Science Fiction, Horror|Ridley Scott|Sigourney Weaver, Tom Skerritt, John Hurt|Dan O'Bannon|The crew of a cargo ship answers a signal and brings something hungry aboard.
Blade Runner|1982|8.1|movie|Science Fiction, Thriller|Ridley Scott|Harrison Ford, Rutger Hauer, Sean Young|Hampton Fancher, David Peoples|In a rain-soaked city a weary policeman hunts artificial people who only want more life.
Thelma & Louise|1991|7.6|movie|Drama, Crime|Ridley Scott|Susan Sarandon, Geena Davis, Brad Pitt|Callie Khouri|Two friends set out for a weekend and become outlaws who would rather fly than turn back.
Gladiator|2000|8.5|movie|Action, History, Drama|Ridley Scott|Russell Crowe, Joaquin Phoenix, Connie Nielsen|David Franzoni, John Logan|A betrayed Roman general fights his way through the arena towards the emperor who killed his family.
Aliens|1986|8.4|movie|Science Fiction, Action|James Cameron|Sigourney Weaver, Michael Biehn|James Cameron|The only survivor returns with marines to the moon where the eggs were found.
The Terminator|1984|8.1|movie|Science Fiction, Action|James Cameron|Arnold Schwarzenegger, Linda Hamilton, Michael Biehn|James Cameron, Gale Anne Hurd|A machine from the future walks through Los Angeles in search of a waitress.
Titanic|1997|7.9|movie|Romance, Drama|James Cameron|Leonardo DiCaprio, Kate Winslet, Billy Zane|James Cameron|An artist from the lower decks and a girl from the upper ones have four days before the iceberg.
2001: A Space Odyssey|1968|8.3|movie|Science Fiction|Stanley Kubrick|Keir Dullea, Gary Lockwood|Stanley Kubrick, Arthur C. Clarke|From the first tool to a ship whose computer knows better, mankind follows a black monolith.
The Shining|1980|8.4|movie|Horror|Stanley Kubrick|Jack Nicholson, Shelley Duvall, Scatman Crothers|Stanley Kubrick, Diane Johnson|A writer looks after an empty mountain hotel through the winter and slowly loses his mind.
Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb|1964|8.3|movie|Comedy, War|Stanley Kubrick|Peter Sellers, George C. Scott, Sterling Hayden|Stanley Kubrick, Terry Southern, Peter George|A mad general sends bombers to Russia and polite men in a round room try to call them back.
Barry Lyndon|1975|8.1|movie|Drama, History|Stanley Kubrick|Ryan O'Neal, Marisa Berenson|Stanley Kubrick|An Irish adventurer climbs into the aristocracy by candlelight and falls down again.
Psycho|1960|8.5|movie|Horror, Thriller|Alfred Hitchcock|Anthony Perkins, Janet Leigh, Vera Miles|Joseph Stefano|A secretary on the run with stolen money stops at a lonely motel kept by a shy young man.
Vertigo|1958|8.3|movie|Mystery, Thriller|Alfred Hitchcock|James Stewart, Kim Novak|Alec Coppel, Samuel A. Taylor|A detective afraid of heights follows a woman who seems haunted by the past.
Rear Window|1954|8.5|movie|Mystery, Thriller|Alfred Hitchcock|James Stewart, Grace Kelly|John Michael Hayes|A photographer with a broken leg watches his neighbours and believes that he has seen a murder.
North by Northwest|1959|8.3|movie|Thriller, Adventure|Alfred Hitchcock|Cary Grant, Eva Marie Saint, James Mason|Ernest Lehman|An advertising man mistaken for a spy is chased by a crop duster and across stone presidents.
Citizen Kane|1941|8.3|movie|Drama, Mystery|Orson Welles|Orson Welles, Joseph Cotten|Herman J. Mankiewicz, Orson Welles|Reporters look for the meaning of the last word that a newspaper tycoon spoke.
Touch of Evil|1958|7.9|movie|Crime, Thriller|Orson Welles|Charlton Heston, Janet Leigh, Orson Welles|Orson Welles|A bomb at the border sets an honest lawman against a policeman who plants his evidence.
The Third Man|1949|8.1|movie|Mystery, Thriller|Carol Reed|Joseph Cotten, Alida Valli, Orson Welles|Graham Greene|A writer of cheap novels comes to ruined Vienna for the funeral of a friend who may not be dead.
Casablanca|1942|8.5|movie|Romance, Drama, War|Michael Curtiz|Humphrey Bogart, Ingrid Bergman, Claude Rains|Julius J. Epstein, Philip G. Epstein, Howard Koch|A bar owner in wartime Morocco must choose between a lost love and a good cause.
The Maltese Falcon|1941|7.9|movie|Crime, Mystery|John Huston|Humphrey Bogart, Mary Astor, Peter Lorre|John Huston|A private detective and three liars hunt for a black statuette of a bird.
Singin' in the Rain|1952|8.3|movie|Musical, Comedy, Romance|Stanley Donen, Gene Kelly|Gene Kelly, Debbie Reynolds, Donald O'Connor|Betty Comden, Adolph Green|When the movies learn to talk, a silent star with a terrible voice needs somebody else to sing for her.
Sunset Boulevard|1950|8.4|movie|Drama|Billy Wilder|William Holden, Gloria Swanson, Erich von Stroheim|Billy Wilder, Charles Brackett|A penniless screenwriter hides in the mansion of a forgotten star who plans her return.
Some Like It Hot|1959|8.2|movie|Comedy, Romance|Billy Wilder|Marilyn Monroe, Tony Curtis, Jack Lemmon|Billy Wilder, I. A. L. Diamond|Two musicians who saw a gangland shooting escape in dresses with an orchestra of women.
The Apartment|1960|8.3|movie|Comedy, Drama, Romance|Billy Wilder|Jack Lemmon, Shirley MacLaine|Billy Wilder, I. A. L. Diamond|A clerk lends his flat to his bosses for their affairs and finds the girl he loves in it.
It's a Wonderful Life|1946|8.6|movie|Drama, Family, Fantasy|Frank Capra|James Stewart, Donna Reed|Frances Goodrich, Albert Hackett, Frank Capra|On Christmas Eve an angel shows a desperate man what his town would be without him.
The Wizard of Oz|1939|8.1|movie|Family, Fantasy, Musical|Victor Fleming|Judy Garland, Ray Bolger, Margaret Hamilton|Noel Langley, Florence Ryerson|A tornado carries a farm girl and her dog to a land of witches, and she wants only to go home.
Modern Times|1936|8.5|movie|Comedy|Charlie Chaplin|Charlie Chaplin, Paulette Goddard|Charlie Chaplin|A tramp is swallowed by the factory's wheels and finds a friend as poor as he is.
City Lights|1931|8.5|movie|Comedy, Romance|Charlie Chaplin|Charlie Chaplin, Virginia Cherrill|Charlie Chaplin|A tramp in love with a blind flower seller looks for the money that could restore her sight.
The General|1926|8.1|movie|Comedy, Action|Buster Keaton, Clyde Bruckman|Buster Keaton, Marion Mack|Buster Keaton, Clyde Bruckman|An engineer whose locomotive has been stolen chases it alone through enemy lines.
One Flew Over the Cuckoo’s Nest|1975|8.7|movie|Drama|Miloš Forman|Jack Nicholson, Louise Fletcher, Danny DeVito|Lawrence Hauben, Bo Goldman|A rebel who pretends to be mad starts a small revolution on a nurse's orderly ward.
Amadeus|1984|8.4|movie|Drama, History|Miloš Forman|F. Murray Abraham, Tom Hulce|Peter Shaffer|An old court composer confesses how he envied the giggling genius whom God preferred.
Taxi Driver|1976|8.2|movie|Crime, Drama|Martin Scorsese|Robert De Niro, Jodie Foster, Harvey Keitel|Paul Schrader|A sleepless veteran drives through the night and decides to clean the streets himself.
Goodfellas|1990|8.7|movie|Crime, Drama|Martin Scorsese|Robert De Niro, Ray Liotta, Joe Pesci|Nicholas Pileggi, Martin Scorsese|A boy from Brooklyn always wanted to be a gangster, and for a while it is wonderful.
Chinatown|1974|8.1|movie|Mystery, Crime|Roman Polanski|Jack Nicholson, Faye Dunaway, John Huston|Robert Towne|A detective hired to follow an unfaithful husband finds that somebody is stealing a city's water.
Rosemary's Baby|1968|8.0|movie|Horror, Drama|Roman Polanski|Mia Farrow, John Cassavetes, Ruth Gordon|Roman Polanski|A young wife suspects that her kind old neighbours have plans for her unborn child.
The Pianist|2002|8.5|movie|Drama, History, War|Roman Polanski|Adrien Brody, Thomas Kretschmann|Ronald Harwood|A musician survives alone in the ruins of the Warsaw ghetto, with a piano that he must not play.
Apocalypse Now|1979|8.4|movie|War, Drama|Francis Ford Coppola|Martin Sheen, Marlon Brando, Robert Duvall|John Milius, Francis Ford Coppola|A captain travels up a jungle river to end the command of a colonel who made himself a god.
Bullitt|1968|7.4|movie|Action, Crime|Peter Yates|Steve McQueen, Jacqueline Bisset|Alan Trustman, Harry Kleiner|A quiet police lieutenant drives very fast over the hills of San Francisco after two killers.
The Great Escape|1963|8.2|movie|War, Adventure|John Sturges|Steve McQueen, James Garner, Richard Attenborough|James Clavell, W. R. Burnett|Prisoners of war dig three tunnels called Tom, Dick and Harry.
12 Years a Slave|2013|8.1|movie|Drama, History|Steve McQueen#2|Chiwetel Ejiofor, Lupita Nyong'o, Michael Fassbender|John Ridley|A free violinist is kidnapped and sold to the plantations of the South.
Hunger|2008|7.5|movie|Drama, History|Steve McQueen#2|Michael Fassbender, Liam Cunningham|Steve McQueen#2, Enda Walsh|A prisoner in Belfast makes his own body the last weapon of his struggle.
"Crocodile" Dundee|1986|6.6|movie|Comedy, Adventure|Peter Faiman|Paul Hogan, Linda Kozlowski|Paul Hogan, Ken Shadie, John Cornell|A reporter brings a hunter from the Australian bush to New York, where people carry smaller knives.
Monty Python and the Holy Grail|1975|8.2|movie|Comedy, Fantasy|Terry Gilliam, Terry Jones|Graham Chapman, John Cleese, Eric Idle, Terry Gilliam, Terry Jones|Graham Chapman, John Cleese, Eric Idle|King Arthur and his knights look for a grail, a shrubbery and a way past a murderous rabbit.
Brazil|1985|7.9|movie|Science Fiction, Comedy|Terry Gilliam|Jonathan Pryce, Robert De Niro, Michael Palin|Terry Gilliam, Tom Stoppard, Charles McKeown|A dreaming clerk tries to correct a misprint and becomes an enemy of the state.
Withnail & I|1987|7.6|movie|Comedy, Drama|Bruce Robinson|Richard E. Grant, Paul McGann|Bruce Robinson|Two unemployed actors go on holiday by mistake to a cold cottage in the rain.
Trainspotting|1996|8.1|movie|Drama, Crime|Danny Boyle|Ewan McGregor, Robert Carlyle, Jonny Lee Miller|John Hodge|A young man in Edinburgh tries to leave heroin and his friends, in whichever order works.
Lawrence of Arabia|1962|8.3|movie|Adventure, History, War|David Lean|Peter O'Toole, Alec Guinness, Omar Sharif|Robert Bolt, Michael Wilson|An English officer unites desert tribes and loses himself in his own legend.
The Bridge on the River Kwai|1957|8.1|movie|War, Adventure|David Lean|Alec Guinness, William Holden|Carl Foreman, Michael Wilson|A proud colonel builds his captors a perfect bridge while others come to blow it up.
Doctor Zhivago|1965|7.9|movie|Drama, Romance, War|David Lean|Omar Sharif, Julie Christie, Alec Guinness|Robert Bolt|A poet and physician is torn between two women and by the Russian revolution.
The Lord of the Rings: The Fellowship of the Ring|2001|8.9|movie|Fantasy, Adventure|Peter Jackson|Elijah Wood, Ian McKellen, Viggo Mortensen|Fran Walsh, Philippa Boyens, Peter Jackson|A small hobbit leaves home with eight companions to destroy a ring that wants to be found.
Heavenly Creatures|1994|7.3|movie|Drama, Crime|Peter Jackson|Kate Winslet, Melanie Lynskey|Fran Walsh, Peter Jackson|Two schoolgirls invent a kingdom of their own and will not let any mother part them.
The Piano|1993|7.5|movie|Drama, Romance|Jane Campion|Holly Hunter, Harvey Keitel, Anna Paquin|Jane Campion|A woman who does not speak is sent to New Zealand with her daughter and her piano.
Mad Max: Fury Road|2015|8.1|movie|Action, Science Fiction|George Miller|Tom Hardy, Charlize Theron, Nicholas Hoult|George Miller, Brendan McCarthy|A war rig full of fleeing women races over the desert and then races back.
The Princess Bride|1987|8.0|movie|Fantasy, Comedy, Romance|Rob Reiner|Cary Elwes, Robin Wright, Mandy Patinkin|William Goldman|A grandfather reads of a farm boy turned pirate, a swordsman with a grudge, and true love.
When Harry Met Sally...|1989|7.7|movie|Comedy, Romance|Rob Reiner|Billy Crystal, Meg Ryan|Nora Ephron|Two people argue for twelve years over whether men and women can be friends.
Groundhog Day|1993|8.0|movie|Comedy, Fantasy|Harold Ramis|Bill Murray, Andie MacDowell|Danny Rubin, Harold Ramis|A sour weatherman lives through the same winter day until he learns to deserve the next one.
Lost in Translation|2003|7.7|movie|Drama, Romance|Sofia Coppola|Bill Murray, Scarlett Johansson|Sofia Coppola|Two sleepless Americans meet in a Tokyo hotel and are lonely together.
The Big Lebowski|1998|8.1|movie|Comedy, Crime|Joel Coen, Ethan Coen|Jeff Bridges, John Goodman, Julianne Moore|Joel Coen, Ethan Coen|A man in a bathrobe wants compensation for a ruined rug and gets a kidnapping instead.
Fargo|1996|8.1|movie|Crime, Comedy|Joel Coen, Ethan Coen|Frances McDormand, William H. Macy, Steve Buscemi|Joel Coen, Ethan Coen|A pregnant police chief calmly follows a trail of blunders across the snow.
O Brother, Where Art Thou?|2000|7.7|movie|Comedy, Musical|Joel Coen, Ethan Coen|George Clooney, John Turturro, Tim Blake Nelson|Joel Coen, Ethan Coen|Three chained convicts run through Mississippi after a treasure and record a hit on the way.
Mulholland Drive|2001|7.9|movie|Mystery, Drama|David Lynch|Naomi Watts, Laura Harring, Justin Theroux|David Lynch|A hopeful actress helps a woman without memory, and Hollywood dreams them both.
Dune|1984|6.3|movie|Science Fiction|David Lynch|Kyle MacLachlan, Francesca Annis, Sting|David Lynch|An heir betrayed on a desert planet rides its giant worms against an emperor.
Dune|2021|8.0|movie|Science Fiction, Adventure|Denis Villeneuve|Timothée Chalamet, Rebecca Ferguson, Zendaya|Denis Villeneuve, Jon Spaihts, Eric Roth|A family is given the desert planet that everyone wants, and its son dreams of the people of the sand.
Arrival|2016|7.9|movie|Science Fiction, Drama|Denis Villeneuve|Amy Adams, Jeremy Renner|Eric Heisserer|A linguist learns the circular writing of visitors who do not live in one direction of time.
The Grand Budapest Hotel|2014|8.1|movie|Comedy, Crime|Wes Anderson|Ralph Fiennes, Tony Revolori, Tilda Swinton|Wes Anderson, Hugo Guinness|A perfumed concierge and his lobby boy steal a painting between two wars.
Get Out|2017|7.8|movie|Horror, Thriller|Jordan Peele|Daniel Kaluuya, Allison Williams|Jordan Peele|A photographer visits his girlfriend's friendly parents and should have stayed at home.
Moonlight|2016|7.4|movie|Drama|Barry Jenkins|Mahershala Ali, Naomie Harris, Trevante Rhodes|Barry Jenkins, Tarell Alvin McCraney|Three chapters tell how a quiet boy in Miami becomes a man who hides.
Nomadland|2020|7.3|movie|Drama|Chloé Zhao|Frances McDormand, David Strathairn|Chloé Zhao|A widow whose town has closed lives in a van and follows work across the American West.
Everything Everywhere All at Once|2022|7.8|movie|Science Fiction, Comedy, Action|Daniel Kwan, Daniel Scheinert|Michelle Yeoh, Ke Huy Quan, Jamie Lee Curtis|Daniel Kwan, Daniel Scheinert|A laundry owner with overdue taxes has to save all universes with kindness.
Romeo + Juliet|1996|6.7|movie|Romance, Drama|Baz Luhrmann|Leonardo DiCaprio, Claire Danes|Craig Pearce, Baz Luhrmann|The old quarrel of two houses is fought with pistols on a hot modern beach.
WALL·E|2008|8.4|movie|Animation, Family, Science Fiction|Andrew Stanton|Ben Burtt, Elissa Knight|Andrew Stanton, Jim Reardon|A small robot who tidies an abandoned Earth follows a white probe to the stars.
Toy Story|1995|8.3|movie|Animation, Family, Comedy|John Lasseter|Tom Hanks, Tim Allen|Joss Whedon, Andrew Stanton, Joel Cohen, Alec Sokolow|A cowboy doll grows jealous of a space ranger who does not know that he is a toy.
Spirited Away|2001|8.6|movie|Animation, Family, Fantasy|Hayao Miyazaki|Rumi Hiiragi, Miyu Irino|Hayao Miyazaki|A sulky girl must work in a bath house for spirits to win back her parents and her name.
となりのトトロ|1988|8.1|movie|Animation, Family, Fantasy|Hayao Miyazaki|Noriko Hidaka, Chika Sakamoto|Hayao Miyazaki|Two sisters move to the country and find a large sleepy keeper of the forest next door.
もののけ姫|1997|8.3|movie|Animation, Fantasy, Adventure|Hayao Miyazaki|Yōji Matsuda, Yuriko Ishida|Hayao Miyazaki|A cursed prince stands between an iron town and the gods and wolves of the wood.
火垂るの墓|1988|8.5|movie|Animation, Drama, War|Isao Takahata|Tsutomu Tatsumi, Ayano Shiraishi|Isao Takahata|A brother and his little sister try to live through the last months of the war with a tin of sweets.
七人の侍|1954|8.6|movie|Action, Drama|Akira Kurosawa|Toshirō Mifune, Takashi Shimura|Akira Kurosawa, Shinobu Hashimoto, Hideo Oguni|Poor farmers hire seven hungry swordsmen to defend their harvest against bandits.
羅生門|1950|8.2|movie|Crime, Mystery, Drama|Akira Kurosawa|Toshirō Mifune, Machiko Kyō, Takashi Shimura|Akira Kurosawa, Shinobu Hashimoto|Four witnesses tell four stories of one death in the forest.
生きる|1952|8.3|movie|Drama|Akira Kurosawa|Takashi Shimura|Akira Kurosawa, Shinobu Hashimoto, Hideo Oguni|An official who learns that he will die decides to build one playground.
Дерсу Узала|1975|8.2|movie|Приключения, Drama|Akira Kurosawa|Юрий Соломин, Максим Мунзук|Akira Kurosawa, Юрий Нагибин|Старый охотник ведёт русского офицера через тайгу и учит его понимать лес.
東京物語|1953|8.1|movie|Drama|Yasujirō Ozu|Chishū Ryū, Setsuko Hara|Yasujirō Ozu, Kōgo Noda|Elderly parents visit their busy children in the capital and find that they are in the way.
ゴジラ|1954|7.5|movie|Horror, Science Fiction|Ishirō Honda|Takashi Shimura, Akira Takarada|Ishirō Honda, Takeo Murata|Bomb tests wake a giant of the deep, and he walks ashore towards the city.
万引き家族|2018|7.9|movie|Drama, Crime|Hirokazu Kore-eda|Lily Franky, Sakura Andō|Hirokazu Kore-eda|A family of small thieves takes in a girl whom nobody seems to miss.
君の名は。|2016|8.4|movie|Animation, Romance, Fantasy|Makoto Shinkai|Ryunosuke Kamiki, Mone Kamishiraishi|Makoto Shinkai|A boy in the city and a girl in the mountains wake in each other's bodies.
花樣年華|2000|8.1|movie|Romance, Drama|Wong Kar-wai|Tony Leung Chiu-wai, Maggie Cheung|Wong Kar-wai|Two neighbours find that their spouses are lovers and rehearse what they will not do themselves.
重慶森林|1994|8.0|movie|Romance, Comedy, Crime|Wong Kar-wai|Tony Leung Chiu-wai, Faye Wong, Takeshi Kaneshiro|Wong Kar-wai|Two lovesick policemen, expired pineapples and a girl who tidies a stranger's flat.
霸王别姬|1993|8.1|movie|Drama, History|Chen Kaige|Leslie Cheung, Zhang Fengyi, Gong Li|Lilian Lee, Lu Wei|Two singers of the Peking opera play king and concubine through fifty years of upheaval.
臥虎藏龍|2000|7.9|movie|Action, Adventure, Romance|Ang Lee|Chow Yun-fat, Michelle Yeoh, Zhang Ziyi|Wang Hui-ling, James Schamus, Tsai Kuo-jung|A stolen sword draws two old warriors and a reckless girl over rooftops and bamboo.
大红灯笼高高挂|1991|8.1|movie|Drama, Romance|Zhang Yimou|Gong Li, He Saifei|Ni Zhen|The fourth wife of a rich house learns what a lantern before one's door is worth.
기생충|2019|8.5|movie|Thriller, Comedy, Drama|Bong Joon-ho|Song Kang-ho, Lee Sun-kyun, Cho Yeo-jeong|Bong Joon-ho, Han Jin-won|A poor family takes every job in a rich house and finds that somebody was there before.
올드보이|2003|8.4|movie|Thriller, Action, Mystery|Park Chan-wook|Choi Min-sik, Yoo Ji-tae, Kang Hye-jung|Park Chan-wook, Hwang Jo-yun|A man locked in a room for fifteen years is let go and given five days to learn why.
शोले|1975|8.1|movie|Action, Adventure, Musical|Ramesh Sippy|Dharmendra, Amitabh Bachchan, Amjad Khan|Salim Khan, Javed Akhtar|A retired policeman hires two likable crooks to catch a bandit chief alive.
পথের পাঁচালী|1955|8.2|movie|Drama|Satyajit Ray|Kanu Banerjee, Karuna Banerjee, Subir Banerjee|Satyajit Ray|A boy and his sister grow up poor in a Bengal village and run to see the train.
باب الحديد|1958|7.5|movie|Crime, Drama|Youssef Chahine|Farid Shawqi, Hind Rostom, Youssef Chahine|Abdel Hay Adib|A lame newspaper seller at the Cairo railway station loves a lemonade girl too much.
المومياء|1969|7.1|movie|Drama, History|Shadi Abdel Salam|Ahmed Marei, Nadia Lutfi|Shadi Abdel Salam|A young man of a mountain tribe learns that his people live by robbing the tombs of kings.
جدایی نادر از سیمین|2011|8.3|movie|Drama|Asghar Farhadi|Peyman Moaadi, Leila Hatami, Sareh Bayat|Asghar Farhadi|A couple in Tehran parts over whether to leave, and a fall on the stairs brings everyone before a judge.
طعم گیلاس|1997|7.7|movie|Drama|Abbas Kiarostami|Homayoun Ershadi|Abbas Kiarostami|A man drives through the hills and asks strangers to do him one last service.
نمای نزدیک|1990|8.2|movie|Documentary, Drama|Abbas Kiarostami|Hossain Sabzian, Mohsen Makhmalbaf|Abbas Kiarostami|A poor lover of films is tried for passing himself off as a famous director.
וואלס עם באשיר|2008|8.0|movie|Animation, Documentary, War|Ari Folman|Ari Folman, Ori Sivan|Ari Folman|A former soldier draws the memories that he has lost, his own and his comrades'.
Σπιρτόκουτο|2002|7.4|movie|Drama|Yannis Economides|Errikos Litsis|Yannis Economides|A café owner and his family shout at each other through the hottest day of the year.
Κυνόδοντας|2009|7.2|movie|Drama|Yorgos Lanthimos|Christos Stergioglou, Angeliki Papoulia|Yorgos Lanthimos, Efthymis Filippou|Parents keep their grown children behind a fence and teach them the wrong words for things.
Le Fabuleux Destin d'Amélie Poulain|2001|8.3|movie|Comedy, Romance|Jean-Pierre Jeunet|Audrey Tautou, Mathieu Kassovitz|Guillaume Laurant, Jean-Pierre Jeunet|A shy waitress in Paris secretly repairs the lives of others and forgets her own.
À bout de souffle|1960|7.7|movie|Crime, Drama|Jean-Luc Godard|Jean-Paul Belmondo, Jean Seberg|Jean-Luc Godard, François Truffaut|A petty thief on the run tries to persuade an American student to come with him.
Les Quatre Cents Coups|1959|8.1|movie|Drama|François Truffaut|Jean-Pierre Léaud, Claire Maurier|François Truffaut, Marcel Moussy|A boy whom nobody has time for skips school, steals a typewriter and runs to the sea.
La Règle du jeu|1939|7.9|movie|Comedy, Drama|Jean Renoir|Nora Gregor, Marcel Dalio, Jean Renoir|Jean Renoir, Carl Koch|Masters and servants flirt and hunt at a country house until somebody is shot.
La Haine|1995|8.1|movie|Drama, Crime|Mathieu Kassovitz|Vincent Cassel, Hubert Koundé, Saïd Taghmaoui|Mathieu Kassovitz|Three friends from the suburbs spend a day and a night with a policeman's lost gun.
Portrait de la jeune fille en feu|2019|8.1|movie|Romance, Drama|Céline Sciamma|Noémie Merlant, Adèle Haenel|Céline Sciamma|A painter on an island must portray in secret a bride who refuses to sit.
Cléo de 5 à 7|1962|7.8|movie|Drama|Agnès Varda|Corinne Marchand, Antoine Bourseiller|Agnès Varda|For two hours a singer walks through Paris and waits for her doctor's verdict.
Le Voyage dans la Lune|1902|8.1|movie|Science Fiction, Short|Georges Méliès|Georges Méliès, Bleuette Bernon|Georges Méliès|Learned men are fired from a cannon into the eye of the Moon.
L'Arrivée d'un train en gare de La Ciotat|1896|7.4|movie|Documentary, Short|Auguste Lumière, Louis Lumière|||A train pulls into a station, and that is already a film.
Playtime|1967|7.8|movie|Comedy|Jacques Tati|Jacques Tati, Barbara Dennek|Jacques Tati, Jacques Lagrange|Monsieur Hulot gets lost in a city made of glass and grey corners.
Intouchables|2011|8.5|movie|Comedy, Drama|Olivier Nakache, Éric Toledano|François Cluzet, Omar Sy|Olivier Nakache, Éric Toledano|A rich man who cannot move hires a carer with no training and no pity.
8½|1963|8.0|movie|Drama, Fantasy|Federico Fellini|Marcello Mastroianni, Claudia Cardinale, Anouk Aimée|Federico Fellini, Ennio Flaiano, Tullio Pinelli|A director who has no idea for his next picture hides in memories and daydreams.
La dolce vita|1960|8.0|movie|Drama, Comedy|Federico Fellini|Marcello Mastroianni, Anita Ekberg, Anouk Aimée|Federico Fellini, Ennio Flaiano, Tullio Pinelli|A gossip reporter wanders through seven nights of Rome and a fountain.
Ladri di biciclette|1948|8.3|movie|Drama|Vittorio De Sica|Lamberto Maggiorani, Enzo Staiola|Cesare Zavattini, Vittorio De Sica|A father and his small son search the city for the bicycle on which his work depends.
Nuovo Cinema Paradiso|1988|8.5|movie|Drama, Romance|Giuseppe Tornatore|Philippe Noiret, Salvatore Cascio|Giuseppe Tornatore|A film maker remembers the village projectionist who taught him to love the screen.
La vita è bella|1997|8.6|movie|Comedy, Drama, War|Roberto Benigni|Roberto Benigni, Nicoletta Braschi|Roberto Benigni, Vincenzo Cerami|A father persuades his little boy that the camp is a game with a tank for first prize.
C'era una volta il West|1968|8.5|movie|Western|Sergio Leone|Charles Bronson, Henry Fonda, Claudia Cardinale|Sergio Donati, Sergio Leone|A man with a harmonica, a widow and a killer wait for the railway.
Il buono, il brutto, il cattivo|1966|8.8|movie|Western, Adventure|Sergio Leone|Clint Eastwood, Eli Wallach, Lee Van Cleef|Luciano Vincenzoni, Sergio Leone|Three men who trust nobody look for a grave full of gold in the middle of a war.
Unforgiven|1992|8.2|movie|Western, Drama|Clint Eastwood|Clint Eastwood, Gene Hackman, Morgan Freeman|David Peoples|An old killer turned pig farmer takes one last job and his gun.
High Noon|1952|8.0|movie|Western|Fred Zinnemann|Gary Cooper, Grace Kelly|Carl Foreman|A marshal waits for the train that brings his enemy, and nobody in town will stand beside him.
Metropolis|1927|8.3|movie|Science Fiction, Drama|Fritz Lang|Brigitte Helm, Alfred Abel, Gustav Fröhlich|Thea von Harbou|The ruler's son goes down to the workers who keep the shining city alive.
M|1931|8.3|movie|Crime, Thriller|Fritz Lang|Peter Lorre, Gustaf Gründgens|Thea von Harbou, Fritz Lang|Police and thieves alike hunt a murderer of children who whistles one tune.
Nosferatu|1922|7.9|movie|Horror|F. W. Murnau|Max Schreck, Greta Schröder|Henrik Galeen|A count with long fingers buys a house in a quiet German town and brings his own earth.
Das Boot|1981|8.4|movie|War, Drama|Wolfgang Petersen|Jürgen Prochnow, Herbert Grönemeyer|Wolfgang Petersen|The crew of a submarine sweats, waits and listens to the depth charges.
Das Leben der Anderen|2006|8.4|movie|Drama, Thriller|Florian Henckel von Donnersmarck|Ulrich Mühe, Martina Gedeck, Sebastian Koch|Florian Henckel von Donnersmarck|An officer who listens to a playwright's flat begins to live in another man's life.
Lola rennt|1998|7.6|movie|Thriller, Action|Tom Tykwer|Franka Potente, Moritz Bleibtreu|Tom Tykwer|A girl has twenty minutes and three tries to bring her friend a fortune.
Der Himmel über Berlin|1987|7.9|movie|Fantasy, Drama, Romance|Wim Wenders|Bruno Ganz, Solveig Dommartin, Otto Sander|Wim Wenders, Peter Handke|An angel who has listened to people for ages wants to taste coffee and be mortal.
Aguirre, der Zorn Gottes|1972|7.8|movie|Adventure, History|Werner Herzog|Klaus Kinski, Del Negro|Werner Herzog|Conquerors on a raft look for a city of gold and follow a madman downstream.
Det sjunde inseglet|1957|8.1|movie|Drama, Fantasy|Ingmar Bergman|Max von Sydow, Gunnar Björnstrand, Bengt Ekerot|Ingmar Bergman|A knight home from the crusades plays chess with Death on the beach.
Smultronstället|1957|8.1|movie|Drama|Ingmar Bergman|Victor Sjöström, Bibi Andersson|Ingmar Bergman|On the way to an honour an old professor drives through his own youth.
Jeanne Dielman, 23, quai du Commerce, 1080 Bruxelles|1975|7.5|movie|Drama|Chantal Akerman|Delphine Seyrig|Chantal Akerman|Three days of a widow's housework, in which one small thing goes wrong.
Festen|1998|8.1|movie|Drama|Thomas Vinterberg|Ulrich Thomsen, Henning Moritzen|Thomas Vinterberg, Mogens Rukov|At his father's sixtieth birthday a son taps his glass and tells the truth.
Verdens verste menneske|2021|7.8|movie|Romance, Drama, Comedy|Joachim Trier|Renate Reinsve, Anders Danielsen Lie|Joachim Trier, Eskil Vogt|In twelve chapters a woman in Oslo changes her studies, her lovers and her mind.
Todo sobre mi madre|1999|7.8|movie|Drama, Comedy|Pedro Almodóvar|Cecilia Roth, Marisa Paredes, Penélope Cruz|Pedro Almodóvar|After her son's death a nurse goes to Barcelona to find his father.
El laberinto del fauno|2006|8.2|movie|Fantasy, Drama, War|Guillermo del Toro|Ivana Baquero, Sergi López, Maribel Verdú|Guillermo del Toro|In the house of a cruel captain a girl is given three tasks by a faun.
El secreto de sus ojos|2009|8.2|movie|Crime, Mystery, Romance|Juan José Campanella|Ricardo Darín, Soledad Villamil|Eduardo Sacheri, Juan José Campanella|A retired clerk writes a novel about the case, and the woman, he could not forget.
Roma|2018|7.7|movie|Drama|Alfonso Cuarón|Yalitza Aparicio, Marina de Tavira|Alfonso Cuarón|A year in the life of a maid who holds another family together.
Cidade de Deus|2002|8.6|movie|Crime, Drama|Fernando Meirelles, Kátia Lund|Alexandre Rodrigues, Leandro Firmino|Bráulio Mantovani|A boy with a camera survives a neighbourhood run by children with guns.
Touki Bouki|1973|7.0|movie|Drama|Djibril Diop Mambéty|Magaye Niang, Mareme Niang|Djibril Diop Mambéty|Two lovers on a motorcycle with horns try every trick to get from Dakar to Paris.
ลุงบุญมีระลึกชาติ|2010|6.7|movie|Drama, Fantasy|Apichatpong Weerasethakul|Thanapat Saisaymar, Jenjira Pongpas|Apichatpong Weerasethakul|A dying farmer is visited at table by his late wife and a son with red eyes.
Popiół i diament|1958|7.7|movie|Drama, War|Andrzej Wajda|Zbigniew Cybulski, Ewa Krzyżewska|Jerzy Andrzejewski, Andrzej Wajda|On the last night of the war a young soldier has one more order to carry out.
Trois couleurs : Bleu|1993|7.8|movie|Drama|Krzysztof Kieślowski|Juliette Binoche, Benoît Régent|Krzysztof Kieślowski, Krzysztof Piesiewicz|A woman who lost everything in an accident tries to be free of memory and of music.
Ostře sledované vlaky|1966|7.6|movie|Comedy, War|Jiří Menzel|Václav Neckář, Josef Somr|Bohumil Hrabal, Jiří Menzel|A shy apprentice at a sleepy railway station worries more about love than about the war.
Sedmikrásky|1966|7.3|movie|Comedy|Věra Chytilová|Jitka Cerhová, Ivana Karbanová|Věra Chytilová, Ester Krumbachová|Two girls decide that since the world is spoiled they may be spoiled too.
Underground|1995|8.0|movie|Comedy, War|Emir Kusturica|Miki Manojlović, Lazar Ristovski, Mirjana Joković|Dušan Kovačević, Emir Kusturica|People in a cellar make weapons for a war that ended long ago.
Sátántangó|1994|8.2|movie|Drama|Béla Tarr|Mihály Víg, Putyi Horváth|László Krasznahorkai, Béla Tarr|It rains for seven hours on a village that believes the wrong man.
Koyaanisqatsi|1982|8.2|movie|Documentary|Godfrey Reggio||Ron Fricke, Godfrey Reggio|Clouds, crowds and motorways, faster and slower, and not one word.
Человек с киноаппаратом|1929|8.3|movie|Documentary|Дзига Вертов|||Оператор снимает город от рассвета до вечера, и сам монтаж становится героем картины.
Броненосец «Потёмкин»|1925|7.9|movie|Drama, History|Сергей Эйзенштейн|Александр Антонов, Григорий Александров|Нина Агаджанова|Матросы отказываются есть гнилое мясо, и по лестнице в Одессе катится детская коляска.
Александр Невский|1938|7.5|movie|History, War|Сергей Эйзенштейн|Николай Черкасов, Николай Охлопков|Сергей Эйзенштейн, Пётр Павленко|Новгородский князь заманивает рыцарей на весенний лёд озера.
Чапаев|1934|7.3|movie|War, Drama|Георгий Васильев, Сергей Васильев|Борис Бабочкин, Варвара Мясникова|Георгий Васильев, Сергей Васильев|Командир дивизии и его комиссар спорят о тактике, картошке и дисциплине.
Летят журавли|1957|8.3|movie|Drama, War, Romance|Михаил Калатозов|Татьяна Самойлова, Алексей Баталов|Виктор Розов|Девушка провожает любимого на войну и не хочет верить, что он не вернётся.
Баллада о солдате|1959|8.2|movie|Drama, War|Григорий Чухрай|Владимир Ивашов, Жанна Прохоренко|Валентин Ежов, Григорий Чухрай|Вместо ордена молодой солдат просит несколько дней отпуска, чтобы починить матери крышу.
Иваново детство|1962|8.0|movie|Drama, War|Андрей Тарковский|Николай Бурляев, Валентин Зубков|Владимир Богомолов, Михаил Папава|Мальчик ходит в разведку через реку, потому что дома у него больше нет.
Андрей Рублёв|1966|8.1|movie|Drama, History|Андрей Тарковский|Анатолий Солоницын, Иван Лапиков, Николай Бурляев|Андрей Кончаловский, Андрей Тарковский|Иконописец даёт обет молчания среди войны и голода, а мальчик отливает колокол.
Солярис|1972|8.0|movie|Science Fiction, Drama|Андрей Тарковский|Донатас Банионис, Наталья Бондарчук, Анатолий Солоницын|Фридрих Горенштейн, Андрей Тарковский|Океан далёкой планеты возвращает психологу женщину, которую он потерял.
Зеркало|1975|7.9|movie|Drama|Андрей Тарковский|Маргарита Терехова, Игнат Данильцев|Александр Мишарин, Андрей Тарковский|Воспоминания о матери, о доме и о войне складываются, как осколки стекла.
Сталкер|1979|8.1|movie|Science Fiction, Drama|Андрей Тарковский|Александр Кайдановский, Анатолий Солоницын, Николай Гринько|Аркадий Стругацкий, Борис Стругацкий|Проводник ведёт писателя и учёного через запретную зону к комнате, где сбываются желания.
Иди и смотри|1985|8.4|movie|War, Drama|Элем Климов|Алексей Кравченко, Ольга Миронова|Алесь Адамович, Элем Климов|Подросток уходит в партизаны и за несколько дней становится стариком.
Добро пожаловать, или Посторонним вход воспрещён|1964|8.0|movie|Comedy, Family|Элем Климов|Евгений Евстигнеев, Арина Алейникова|Семён Лунгин, Илья Нусинов|Мальчика выгнали из пионерского лагеря, но он тайком возвращается и живёт под трибуной.
Операция «Ы» и другие приключения Шурика|1965|8.3|movie|Comedy|Леонид Гайдай|Александр Демьяненко, Юрий Никулин, Георгий Вицин|Яков Костюковский, Морис Слободской, Леонид Гайдай|Студент в очках трижды попадает в переделки: на стройке, на экзамене и на складе.
Кавказская пленница, или Новые приключения Шурика|1967|8.3|movie|Comedy|Леонид Гайдай|Александр Демьяненко, Наталья Варлей, Юрий Никулин|Яков Костюковский, Морис Слободской, Леонид Гайдай|Собиратель тостов нечаянно помогает похитить девушку, в которую влюблён.
Бриллиантовая рука|1968|8.4|movie|Comedy, Crime|Леонид Гайдай|Юрий Никулин, Андрей Миронов, Анатолий Папанов|Яков Костюковский, Морис Слободской, Леонид Гайдай|Скромный экономист возвращается из круиза с гипсом, полным чужих драгоценностей.
Иван Васильевич меняет профессию|1973|8.2|movie|Comedy, Science Fiction|Леонид Гайдай|Юрий Яковлев, Леонид Куравлёв, Александр Демьяненко|Владлен Бахнов, Леонид Гайдай|Машина времени меняет местами царя и управдома.
12 стульев|1971|8.1|movie|Comedy|Леонид Гайдай|Арчил Гомиашвили, Сергей Филиппов|Леонид Гайдай, Владлен Бахнов|Два охотника за бриллиантами распарывают стул за стулом.
Берегись автомобиля|1966|8.1|movie|Comedy, Crime|Эльдар Рязанов|Иннокентий Смоктуновский, Олег Ефремов, Анатолий Папанов|Эмиль Брагинский, Эльдар Рязанов|Страховой агент угоняет машины у взяточников и отсылает деньги детским домам.
Ирония судьбы, или С лёгким паром!|1975|8.1|movie|Comedy, Romance|Эльдар Рязанов|Андрей Мягков, Барбара Брыльска, Юрий Яковлев|Эмиль Брагинский, Эльдар Рязанов|В новогоднюю ночь врач засыпает в чужом городе, в чужой квартире с тем же адресом.
Служебный роман|1977|8.2|movie|Comedy, Romance|Эльдар Рязанов|Алиса Фрейндлих, Андрей Мягков, Олег Басилашвили|Эмиль Брагинский, Эльдар Рязанов|Робкий статистик ухаживает за строгой начальницей ради должности и влюбляется всерьёз.
Карнавальная ночь|1956|7.7|movie|Comedy, Musical|Эльдар Рязанов|Людмила Гурченко, Игорь Ильинский|Борис Ласкин, Владимир Поляков|Новый директор клуба хочет сделать праздник серьёзным, а молодёжь ему мешает.
Москва слезам не верит|1980|8.1|movie|Drama, Romance|Владимир Меньшов|Вера Алентова, Ирина Муравьёва, Алексей Баталов, Владимир Меньшов|Валентин Черных|Три подруги приезжают в столицу за счастьем и через двадцать лет сравнивают, что вышло.
Белое солнце пустыни|1970|7.9|movie|Western, Adventure|Владимир Мотыль|Анатолий Кузнецов, Спартак Мишулин, Павел Луспекаев|Валентин Ежов, Рустам Ибрагимбеков|Красноармеец идёт домой через пески, а ему поручают охранять чужой гарем.
Свой среди чужих, чужой среди своих|1974|7.6|movie|Western, Adventure|Никита Михалков|Юрий Богатырёв, Анатолий Солоницын, Никита Михалков|Эдуард Володарский, Никита Михалков|Чекиста подозревают в краже золота, и он один ищет его у бандитов.
Утомлённые солнцем|1994|7.7|movie|Drama, History|Никита Михалков|Никита Михалков, Олег Меньшиков, Надя Михалкова|Рустам Ибрагимбеков, Никита Михалков|В солнечный день на дачу к комдиву приезжает старый знакомый его жены.
Неоконченная пьеса для механического пианино|1977|7.8|movie|Drama, Comedy|Никита Михалков|Александр Калягин, Елена Соловей, Никита Михалков|Александр Адабашьян, Никита Михалков|В усадьбе летом вспоминают прежнюю любовь и понимают, что жизнь прошла.
Гамлет|1964|8.1|movie|Drama|Григорий Козинцев|Иннокентий Смоктуновский, Анастасия Вертинская|Григорий Козинцев|Принц возвращается в каменный замок, где отца сменил дядя.
Война и мир|1966|8.3|movie|Drama, History, War|Сергей Бондарчук|Сергей Бондарчук, Людмила Савельева, Вячеслав Тихонов|Сергей Бондарчук, Василий Соловьёв|Балы, дуэли и Бородинское поле проходят перед глазами нескольких семей.
Судьба человека|1959|8.0|movie|Drama, War|Сергей Бондарчук|Сергей Бондарчук, Павлик Борискин|Юрий Лукин, Фёдор Шахмагонов|Шофёр, потерявший в войну всё, усыновляет мальчика у чайной.
В бой идут одни «старики»|1973|8.5|movie|War, Drama, Musical|Леонид Быков|Леонид Быков, Сергей Иванов, Алексей Смирнов|Леонид Быков, Евгений Оноприенко, Александр Сацкий|Поющая эскадрилья лётчиков хранит песни до победы.
А зори здесь тихие…|1972|8.3|movie|War, Drama|Станислав Ростоцкий|Андрей Мартынов, Ольга Остроумова|Борис Васильев, Станислав Ростоцкий|Старшина и пять девушек-зенитчиц встречают в лесу десант.
Белый Бим Чёрное ухо|1977|8.1|movie|Drama, Family|Станислав Ростоцкий|Вячеслав Тихонов, Валентина Владимирова|Станислав Ростоцкий|Собака ищет по городу хозяина, которого увезли в больницу.
Собачье сердце|1988|8.6|movie|Comedy, Science Fiction, Drama|Владимир Бортко|Евгений Евстигнеев, Владимир Толоконников, Борис Плотников|Наталия Бортко|Профессор пересаживает бродячему псу железу и получает наглого гражданина.
Кин-дза-дза!|1986|8.2|movie|Comedy, Science Fiction|Георгий Данелия|Станислав Любшин, Евгений Леонов, Юрий Яковлев|Резо Габриадзе, Георгий Данелия|Прораб и студент нажимают не ту кнопку и оказываются на планете, где ценят спички.
Мимино|1977|8.1|movie|Comedy, Drama|Георгий Данелия|Вахтанг Кикабидзе, Фрунзик Мкртчян|Резо Габриадзе, Виктория Токарева, Георгий Данелия|Горный вертолётчик мечтает о больших самолётах и едет в Москву.
Осенний марафон|1979|8.0|movie|Comedy, Drama|Георгий Данелия|Олег Басилашвили, Наталья Гундарева, Евгений Леонов|Александр Володин|Переводчик никому не умеет отказать и бегает между женой, любимой и работой.
Я шагаю по Москве|1964|7.9|movie|Comedy, Romance|Георгий Данелия|Никита Михалков, Алексей Локтев, Галина Польских|Геннадий Шпаликов|Один летний день друзей, метро, дождь и песня.
Джентльмены удачи|1971|8.4|movie|Comedy, Crime|Александр Серый|Евгений Леонов, Георгий Вицин, Савелий Крамаров|Виктория Токарева, Георгий Данелия|Заведующий детским садом похож на рецидивиста и должен сыграть его в тюрьме.
Покровские ворота|1982|8.3|tv_show|Comedy, Romance|Михаил Козаков|Олег Меньшиков, Леонид Броневой, Инна Ульянова|Леонид Зорин|Соседи по коммунальной квартире всем миром устраивают чужое счастье.
Семнадцать мгновений весны|1973|8.9|tv_show|War, Thriller, Drama|Татьяна Лиознова|Вячеслав Тихонов, Леонид Броневой, Олег Табаков|Юлиан Семёнов|Разведчик в чужом мундире весной срывает тайные переговоры.
Место встречи изменить нельзя|1979|8.8|tv_show|Crime, Drama|Станислав Говорухин|Владимир Высоцкий, Владимир Конкин|Аркадий Вайнер, Георгий Вайнер|Два сыщика с разными взглядами на закон ловят в Москве банду «Чёрная кошка».
Шерлок Холмс и доктор Ватсон: Знакомство|1979|8.7|tv_show|Crime, Mystery|Игорь Масленников|Василий Ливанов, Виталий Соломин, Рина Зелёная|Юлий Дунский, Валерий Фрид|Врач снимает комнату на Бейкер-стрит и принимает соседа за преступника.
Ликвидация|2007|8.3|tv_show|Crime, Drama|Сергей Урсуляк|Владимир Машков, Михаил Пореченков|Алексей Поярков|В послевоенной Одессе начальник угрозыска ищет неуловимого Академика.
Ёжик в тумане|1975|8.4|movie|Animation, Short, Family|Юрий Норштейн|Алексей Баталов, Вячеслав Невинный|Сергей Козлов|Ёж идёт к медвежонку пить чай и теряется в тумане с узелком малинового варенья.
Сказка сказок|1979|7.8|movie|Animation, Short|Юрий Норштейн||Людмила Петрушевская, Юрий Норштейн|Серый волчок бродит по старому дому, где живут память и колыбельная.
Винни-Пух|1969|8.4|movie|Animation, Short, Family|Фёдор Хитрук|Евгений Леонов, Ия Саввина|Борис Заходер, Фёдор Хитрук|Медвежонок притворяется тучкой, но пчёлы что-то подозревают.
Ну, погоди!|1969|8.6|tv_show|Animation, Comedy, Family|Вячеслав Котёночкин|Анатолий Папанов, Клара Румянова|Аркадий Хайт, Александр Курляндский, Феликс Камов|Волк ловит зайца на пляже, на стадионе и в музее, и всегда напрасно.
Каникулы в Простоквашино|1980|8.4|movie|Animation, Short, Family|Владимир Попов|Олег Табаков, Лев Дуров|Эдуард Успенский|Дядя Фёдор сбегает с курорта в деревню, к коту и собаке, которые поссорились из-за коровы.
Брат|1997|8.2|movie|Crime, Drama|Алексей Балабанов|Сергей Бодров, Виктор Сухоруков|Алексей Балабанов|Вернувшийся из армии парень с плеером узнаёт, чем занимается его старший брат.
Груз 200|2007|7.1|movie|Drama, Thriller|Алексей Балабанов|Агния Кузнецова, Алексей Полуян|Алексей Балабанов|Маленький город, милиционер, и никто не приходит на помощь.
Возвращение|2003|7.9|movie|Drama|Андрей Звягинцев|Владимир Гарин, Иван Добронравов, Константин Лавроненко|Владимир Моисеенко, Александр Новотоцкий|Отец, которого сыновья знали по фотографии, увозит их на остров.
Левиафан|2014|7.6|movie|Drama|Андрей Звягинцев|Алексей Серебряков, Елена Лядова, Роман Мадянов|Олег Негин, Андрей Звягинцев|Автомеханик у холодного моря судится с мэром за свой дом.
Русский ковчег|2002|7.2|movie|Drama, History, Fantasy|Александр Сокуров|Сергей Дрейден, Мария Кузнецова|Анатолий Никифоров, Александр Сокуров|Одним кадром невидимый гость проходит через залы дворца и триста лет.
Особенности национальной охоты|1995|7.6|movie|Comedy|Александр Рогожкин|Алексей Булдаков, Виктор Бычков, Вилле Хаапасало|Александр Рогожкин|Финский студент изучает обычаи охоты и понимает, что дело не в лосях.
Ночной дозор|2004|6.4|movie|Fantasy, Action|Тимур Бекмамбетов|Константин Хабенский, Владимир Меньшов|Тимур Бекмамбетов, Лаэта Калогридис|Иные из Света и Тьмы сторожат друг друга на улицах Москвы.
Аритмия|2017|7.4|movie|Drama, Romance|Борис Хлебников|Александр Яценко, Ирина Горбачёва|Наталия Мещанинова, Борис Хлебников|Врач скорой помощи спасает всех, кроме собственной семьи.
Дылда|2019|7.1|movie|Drama, War|Кантемир Балагов|Виктория Мирошниченко, Василиса Перелыгина|Кантемир Балагов, Александр Терехов|Две фронтовички пробуют жить дальше в первую послевоенную осень.
Тени забытых предков|1964|7.8|movie|Drama, Romance|Сергей Параджанов|Иван Миколайчук, Лариса Кадочникова|Сергей Параджанов, Иван Чендей|В Карпатах юноша любит дочь врага своей семьи.
Նռան գույնը|1969|7.6|movie|Drama, History|Сергей Параджанов|Софико Чиаурели|Сергей Параджанов|The life of a poet told in still pictures of lace, books and pomegranates.
მონანიება|1984|8.0|movie|Drama, Comedy|Тенгиз Абуладзе|Автандил Махарадзе, Зейнаб Боцвадзе|Нана Джанелидзе, Тенгиз Абуладзе, Резо Квеселава|A dead mayor is dug up again and again by a woman who remembers him.
Twin Peaks|1990|8.8|tv_show|Crime, Mystery, Drama|David Lynch, Mark Frost|Kyle MacLachlan, Michael Ontkean, Sherilyn Fenn, David Lynch|David Lynch, Mark Frost|An agent with a taste for coffee and dreams asks who killed the homecoming queen.
Breaking Bad|2008|9.5|tv_show|Crime, Drama, Thriller|Vince Gilligan|Bryan Cranston, Aaron Paul, Anna Gunn|Vince Gilligan|A chemistry teacher with a fatal diagnosis begins to cook for the wrong people.
The Wire|2002|9.3|tv_show|Crime, Drama||Dominic West, Idris Elba, Michael K. Williams|David Simon, Ed Burns|Police, dealers, dockers and schools of Baltimore listen in on each other.
Fawlty Towers|1975|8.7|tv_show|Comedy||John Cleese, Prunella Scales, Connie Booth|John Cleese, Connie Booth|A hotel keeper who hates his guests does everything to keep one secret after another.
Star Trek|1966|8.4|tv_show|Science Fiction, Adventure||William Shatner, Leonard Nimoy, DeForest Kelley|Gene Roddenberry|A starship with a mixed crew meets strange new worlds every week.
Doctor Who|1963|8.4|tv_show|Science Fiction, Adventure||William Hartnell, Tom Baker, Paul McGann|Sydney Newman|A traveller in a blue police box never stays for the tidying up.
The Simpsons|1989|8.7|tv_show|Animation, Comedy||Dan Castellaneta, Julie Kavner, Nancy Cartwright|Matt Groening|A yellow family in a town of nowhere in particular stays the same age for decades.
カウボーイビバップ|1998|8.9|tv_show|Animation, Science Fiction, Action|Shinichirō Watanabe|Kōichi Yamadera, Megumi Hayashibara|Keiko Nobumoto|Bounty hunters with empty pockets drift through the solar system to the sound of jazz.
Dekalog|1989|9.0|tv_show|Drama|Krzysztof Kieślowski|Henryk Baranowski, Krystyna Janda|Krzysztof Kieślowski, Krzysztof Piesiewicz|Ten hours in one block of flats, and in each a commandment is put to the test.
Matador|1978|9.2|tv_show|Drama, History|Erik Balling|Jørgen Buckhøj, Ghita Nørby|Lise Nørgaard|A salesman arrives in a Danish town with a suitcase and changes its order.
Planet Earth|2006|9.4|tv_show|Documentary||David Attenborough||Cameras wait for months to see a snow leopard and the longest caves.
🎬 The Clapperboard Waltz|2019|6.8|movie|Short, Comedy|Ada Fontaine|Ada Fontaine, Piet Lund|Ada Fontaine|Invented: a crew dances through forty takes of one goodbye 👋.
Tears of Joy 😂|2021|5.9|movie|Short|Piet Lund|||Invented: everyone on the bus laughs and nobody knows why.
👩‍🚀 in the Kitchen|2022|7.1|movie|Short, Family, Animation||Ada Fontaine||Invented: a small girl lands on the planet Refrigerator.
a < b && b > c|2016|6.2|movie|Short, Documentary|Noor & Sons|||Invented: a teacher of mathematics loses an argument with <b>bold</b> pupils.
C:\\TEMP\\LOVE|2003|6.6|movie|Short, Romance|Piet Lund||Jo "Backslash" O'Hara|Invented: two office workers leave each other notes in a folder called \\new.
¯\\_(ツ)_/¯|2018|5.5|movie|Short|||Jo "Backslash" O'Hara|
She Said 'No', He Heard "Maybe"|2011|6.4|movie|Short, Drama|Jo "Backslash" O'Hara|Ada Fontaine||Invented: one conversation, told twice.\nThe second time\tit is shorter.
“Quiet, Please,” Said the Projector|2014|7.0|movie|Short|Noor & Sons|Piet Lund|Ada Fontaine|Invented: an old machine ‘talks’ back to its audience.
100% \\ {json: ["yes", null]}|2020|4.8|movie|Short|||Noor & Sons|Invented: a data clerk dreams in brackets.
Café of the Late Accent|2009|6.1|movie||Ada Fontaine|||Invented: its title is spelt with a combining accent, as some keyboards do.
Untitled (for Genre)|2012|5.0|movie||Piet Lund|Ada Fontaine|Piet Lund|Invented: it belongs to no genre at all.
Ещё не снято||||Short||Ада Фонтен||
Groundhog Day for a Cat||||Animation, Short||||
Chelovek|2015|||Documentary|||Anonymous|
The Kid Stays in the Archive||||||||
Nothing to Declare||||||||
\.

CREATE TEMP TABLE genre_text (name text, description text) ON COMMIT DROP;

COPY genre_text FROM stdin (DELIMITER '|', NULL '');
Action|Somebody runs, and somebody runs after them.
Adventure|A long way from home, and not by the straight road.
Animation|Drawn, moulded or computed, one picture at a time.
Comedy|Made to make you laugh.
Crime|Against the law, seen from either side.
Documentary|It happened in front of the camera.
Drama|People, and what they do to each other.
Family|For children and those who sit beside them.
Fantasy|Things that cannot be.
History|Things that have been.
Horror|Things that should not be.
Musical|When words are not enough, they sing.
Mystery|Something is hidden.
Romance|Two people, as a rule.
Science Fiction|Things that could be, some day.
Short|Over before the popcorn is.
Thriller|The edge of the seat.
War|Soldiers, and those in their way.
Western|Dust, horses and a gun.
Приключения|Далеко от дома и не прямой дорогой.
Film Noir|No film of this sample has it: a genre without films.
Silent|
\.

-- An id that is the same at every load; a moment between 1 July 2021 and September 2025, to the microsecond, likewise.
CREATE OR REPLACE FUNCTION pg_temp.id(kind text, name text) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT md5(kind || ':' || name)::uuid $$;

CREATE OR REPLACE FUNCTION pg_temp.moment(id uuid) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS
$$ SELECT timestamptz '2021-07-01 00:00:00Z'
        + ('x' || left(md5(id::text), 13))::bit(52)::bigint % (1500 * 86400000000) * interval '1 microsecond' $$;

CREATE TEMP VIEW film_key AS
    SELECT pg_temp.id('film', title || coalesce(' ' || year, '')) AS id, film.* FROM film;

CREATE TEMP VIEW credit AS
    SELECT DISTINCT f.id AS film_work_id, c.role, name, pg_temp.id('person', name) AS person_id
      FROM film_key f,
           (VALUES ('director'), ('actor'), ('writer')) c (role),
           regexp_split_to_table(CASE c.role WHEN 'director' THEN f.directors
                                             WHEN 'actor' THEN f.actors
                                             ELSE f.writers END, ', ') name;

-- The television series were changed by one and the same statement: their times are equal.
INSERT INTO content.film_work (created, modified, id, title, description, creation_date, rating, type)
SELECT '2021-06-16 20:14:09.221855Z',
       CASE type WHEN 'tv_show' THEN '2023-05-14 23:40:47.493102Z' ELSE pg_temp.moment(id) END,
       id, title, description, make_timestamptz(year, 1, 1, 0, 0, 0), rating, coalesce(type, 'movie')
  FROM film_key;

INSERT INTO content.genre (created, modified, id, name, description)
SELECT '2021-06-16 20:14:09.309735Z', pg_temp.moment(pg_temp.id('genre', name)), pg_temp.id('genre', name), name, description
  FROM genre_text;

INSERT INTO content.person (created, modified, id, full_name)
SELECT DISTINCT timestamptz '2021-06-16 20:14:09.321191Z', pg_temp.moment(person_id), person_id,
       regexp_replace(name, '#\d+$', '')
  FROM credit;

INSERT INTO content.genre_film_work (id, created, film_work_id, genre_id, modified)
SELECT pg_temp.id('genre_film_work', f.id || name), '2021-06-16 20:14:09.579988Z', f.id, pg_temp.id('genre', name),
       pg_temp.moment(pg_temp.id('genre_film_work', f.id || name))
  FROM film_key f, regexp_split_to_table(f.genres, ', ') name;

INSERT INTO content.person_film_work (id, role, created, film_work_id, person_id, modified)
SELECT pg_temp.id('person_film_work', film_work_id || role || name), role, '2021-06-16 20:14:09.702729Z', film_work_id,
       person_id, pg_temp.moment(pg_temp.id('person_film_work', film_work_id || role || name))
  FROM credit;

DROP VIEW credit, film_key;

-- What changed lately is found by these; the links of a film by the unique constraints above.
CREATE INDEX film_work_modified_idx ON content.film_work (modified, id);
CREATE INDEX genre_modified_idx ON content.genre (modified, id);
CREATE INDEX person_modified_idx ON content.person (modified, id);
CREATE INDEX genre_film_work_modified_idx ON content.genre_film_work (modified, id);
CREATE INDEX person_film_work_modified_idx ON content.person_film_work (modified, id);
CREATE INDEX genre_film_work_genre_id_idx ON content.genre_film_work (genre_id);
CREATE INDEX person_film_work_person_id_idx ON content.person_film_work (person_id);

COMMIT;

ANALYZE content.film_work;
ANALYZE content.genre;
ANALYZE content.person;
ANALYZE content.genre_film_work;
ANALYZE content.person_film_work;
