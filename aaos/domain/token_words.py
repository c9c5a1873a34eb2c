"""Words whose cost in tokens was measured, so that a counter need not take every letter for a token.

A word stands with the most that it takes in any of the measured tokenizers (bench/tokenizers.py), whatever space or
sign comes before it. Here stand the words of our own prompts and the commonest of English. Made by
`python -m bench.tokenizers words`: not edited by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_WORDS: Final[Mapping[int, str]] = {
    1: """
Act Action Add Address Admin After Air Alex All And Android Ang Ann Ant Any App Application Apr Are Arg Array Art
Ass Att Aug Aut Auth Author Auto Back Bank Bar Base Bay Because Bel Ben Ber Best Big Bill Bit Black Block Board Book
Box Bro Build But Button Cal Call Cam Can Cap Car Card Cent Center Char Che Check Child City Class Click Client Code
Col Color Column Com Comm Command Common Company Component Con Config Cons Console Cont Contact Content Control Cor
Count Create Created Current Custom DATA Data Date David Day Dec Def Del Dem Dep Des Description Design Dev Die Dim
Direct Dis Div Don Double Down Download Each Edit Element Email End Eng Ent Error Est Europe Even Event Every
Exception Exp Ext False Field File Fin Find Fire First For Fore Form Free From Full Function Game Gen Gener General
Get God Gold Good Great Green Group Hand Har Hash Health Her Here High His Home Hot How IN Image Ind Index
Information Initial Input Inst Int Integer Inter It Item JSON Jack Jan Java John Just Key King Label Last Leg Let
Level Lib Life Light Like Lin Line Link List Load Local Log London Long Look MAX MS Mac Mad Mag Main Make Mal Man
Many Map Mar Mark Mart Mass Mat Math Max May Med Media Mer Message Met Method Microsoft Mill Min Miss Mod Model Mon
More Most Mus Name National Net New News Next Node None Not Note Now Number Object Oct Of Off One Only Open Oper
Option Order Other Our Out Output Over PER Page Par Param Part Pat Path Pattern Paul Per Person Phil Play Player
Please Point Pol Port Post Power Pre Pres Press Price Print Pro Process Product Program Project Prop Property Public
Que Read Real Rec Red Ref Reg Rel Rem Rep Report Request Res Rest Rich Rob Run Sal Sam San Sch Search Sec Secret
Security See Select Ser Server Service Services Session Set She Show Sign Sil Sim Simple Since Size Some Source
South Star Status Ste Str String Sub Sum Sun Sup Super Support Sur System Table Task Test Text That The Then There
They This Thread Tim Time Times Tom Top Tor Trans Tree Tur Two Type UTC Under Union Unit Up Update Use User Val
Valid Value Var Video View Vis War Web Well West What When While White Why Will Windows With Word Work World Yes You
Your ability able about abs acc accept access account act action actions activ active activity actual add added
adding address admin adv aff after again age agent ago aim air alert align all alloc allow allowed alone alpha also
alt altern although always amb amount an analysis and android ang angle anim ann ans answer ant anti any api app
append application apply appro arch are area aren arg args argument arm around arr array art article as ask ass
assert at att attribute aud audio aut auth author auto available aware away axis back background bad bag balance
ball ban band bands bank bar bas base based basic batch be beat because bed before begin being bel ben bes best bet
between big binary bit bits black block blog blue board body bon book books bool boost border born both bottom bound
box boy brand bre break bro buf buffer build builder building built bul bur burn bus business but button by byte
bytes cache cal call callback called cam camp can cap car card cards care cart cas case cases cast cat catch
category cell cent center cert chain change changed changes channel char character charge chart chat che check chem
child children cho choice circ cit city claim class classes clean clear click client clock close closed cloud club
cmd code col coll collect collection color column com comb come comes comfort coming comm command comment comments
commit common comp company complete complex component con condition conduct conf config conn connect connected
connection cons console const construct cont contact container content context contin contract control controller
conv cop copy cor core correct cos cost could count counter course court cover cre create created crit cross cur
current custom cut dam dan dark dat data date dating day days dead dec def deg del dem den der des desc dest det dev
dict did die diff dig dim dir direct direction dis dist distance div do doc document does dog dom don done door
double down draw drive driver dro drop due duration each ear echo edge edit editor educ eff effect elect element
else email emb empty enable enc end ended energy eng engine ens ent enter entity entry enum env environment equ
equal err error errors esc ess est etc eth eval even event events ever every example exc except exec execute exist
existing exit exp expected expl export express expression ext external extra fac face fact factor fail failed fall
false family fan far fast father feed field fields fig figure fil file filename files fill film filter fin final
find fire first fish fit five fix fixed flag flags flash flat flex float floor flow focus fol folder follow font
food foot for force fore form format former forming forms forward found four frame fre free friend from front ful
full fully fun func function fund future gain game gar gas gen gener general get gets girl glass global go going
gold good got grad grand graph gre green grid ground group groups gun had half hand handle handler har hard has hash
hat have head header headers health heart height held help her here hidden high him his hist history hit hold hom
home hon hor host hot hour house how href html http https hum human hus icon ide ident ign ignore ill image images
img imm imp import important in inc include includes including ind index inf info information ing init initial
inline inn inner input ins insert inst install instance int integer inter interest interface intern internal into
inv is iss issue issues it item items iter its java job join journal json jud just keep key keys kill kind know
known label land lang language large las last lat late latest law layer layout leading learn learning leave led left
leg legal len length les less let letter level lib library license life light lik like lim limit line lines link
links list lists liter live lo load loaded loading loc local location lock log login long look loop los loss lot
love low lower mac machine made mag mail main make making mal man many map mar mark mas mask mass master mat match
material math max may mean med media mem men mer message met meta mid middle mil mill min mind mir miss mission mit
mobile mod mode mon mor more most mot mother mount mouse move ms msg mult mus must mut name named names natural nav
need neg negative net never new news next nice night nil no node non none nor norm normal not note notes notice now
null num number obj object objects obs occ of off offset old older on once one ones online only onto open oper
operation operator opp opt optim option options or ord order org organ orig origin original other our out output
over own owner owners pack package padding page pages paid pair pan panel paper par param params parent park parse
parser part parts party pas pass password pat path patient pattern pay payment pen people per percent period pers
person pet phase phone photo phys pick picture pie piece pin place plan plant platform play player ple plot plugin
plus pod point points pol policy poll pool pop por port pos position post posts pot power pre pred pres present
press prev price prim primary print printf priv private pro process processing produ product production products
prof profile program progress project projects prom prop properties property prot prov pub public published pull pur
push put qual quality que query quest question queue quick rac rad radio raise random range rank rap rate raw read
reader ready real reason rec rect red ref reference reg rel related release rem remove ren render rent rep replace
report req requ request require res reset resource resp respect rest ret return rev review rich rid right rise road
rock role roll room root rot round route row rows rule rules run running safe sal same sample san sat save say scale
scan sch school score screen script sea search sec section see seen select selection self sem sen send sent ser
serial series serv session set sets sex she ship shot show side sign sil sim sin since sing single site six size
skin sleep slot so social socket soft sol solid some son sort sound source space span spe spec speed spot sql src
star std ste stick stop str stre sub such sum sun sup super sur switch sym syn sys system tab table tag take tal
talk target task tax teen tele tem temp ten ter test tests text tf than that the then there they this tim time timer
times title tmp to token ton too tool tools top topic tor total touch town track train trans tre tree tri try turn
two typ type types uint ult und under une unique unit units unknown uns unsigned until up update updated upload
upper url use used user username users uses using util val valid value values van var vari variable vec vector vel
ver vers vert very via video view views vir virtual vis visible voice void vol volume vote wait walk wall war was
watch water way ways weak web week weight weights well were what when where which while white who why wide widget
width will win window wire with without woman won wood word words work working works world worth write writer
writing written www xml year you your zero zone
""",
    2: """
ADA ADX ATR Account Also Amazon Americ America American Americans Answer Apache Apple April Assert Associ August
Austral Australia BASE BTC BUY Blue Boolean Both Brit Business California Canada China Chinese Christ Church Clinton
College Commit Cong Convert Copyright County Cour Court DOT December Default Democr Department Digits Direction
Donald ETH EUR EXACT Earth East Engine England English European Expecting FAULT FORMAT Facebook Flor Foundation
Frank French Friday GAP German Give Global Google Govern HOLD Hill House However Http India Indian Initialize
Initialized Intent Intern International Internet Israel James January Japan Json July June Kore LINK LTC Labels
League License Login Longer MINUTE March Market Mich Michael Minister Network Newest North November OPEN Obama
October Office Online Park Parts Party People Pivot President Prof Promise Prompt React Regime Register Republic
Research Response Result Return Returns Rock Russ Russia Russian SAID SCORE SELL SOL STANCE SYSTEM Sand Saturday
Schema School Sept Smith Software Stance Start State States Store Stream Stud Study Team Techn Texas Texts These
Thom Thursday True Trump Tuesday Twitter USD USDC USDT USER United University Vector Wash Washington Weigh XRP York
above abstract accom according accur achie across acting activities actually addition additional adjust
administration adult advance advant advantage advert advice adx affect against agency agre agree agreement ahead
album alignment alleg allows almost along already amazing among anal analy announced another anyone anything appe
appear appears applic applied approach appropri areas arguments aria arrest asked assess asset assist associ
associated assum async atr atrs attack attacks attempt attend attention attr attract attributes autom automatic
average averages avoid await baby baseline basis bath batter battle beaut became become becomes been beginning
behavior behind belie believe belong below benef beside better beyond biggest bill billion birth blood boolean
bounce brain branch bring broad broken brought browser budget buying calcul calling calls came camera campaign
cancel cancer candid candidate cannot capacity capital capt career carried carry cars cash cause cele cells central
century certain chall chance chang characters charg choose church citiz civil claims clearly clients clin clos
closing coach cold college colors columns commercial committee communic community como compan compar comparable
compare compared compet compl comple complet completed components comput compute computer conc concept concern
conditions confidence configuration configured confirm confirmed conflic consider consist constant constit
construction constructor consult consum contain containing contains contents continue continued contr contrib
convers convert cook cookies cool copyright corner corpor correspond costs couldn coun countries country couple cour
cout creat creating cred credit criminal critical crow crush cult culture currently cursor customer customers cuts
daily damage danger dans database datetime deal death debug decided decides decision decl deep default defense
define defined definitely definition degree delay delete deliver delta demand demon depend depth descri describe
description design designed despite destination destroy detail details detect deter develop device devices dialog
didn died dies differ difference different difficult digit digital directly director directory disabled disc
discover discuss dise dispatch display distr distrib distributed distribution district divides django documents
doesn doing doll domain download downwards dream dress drift drink drug during dynamic early earn earth easy econ
economic education effective effects effort efforts eight either election electric elements elif ema emerg employ
employee enabled encour endl enemy energ enjoy enough ensure entire entre erot escort especially essay essential
everyone everything evid evidence exact exactly exam excell exception exchange exerc exists expand expect exper
experi experience experiment expert explo extends extension extract extrem extreme eyes factors factory failure fair
fans fant farm fault favor favorite fear feature features federal feel feeling feet felt female fetch few fight
figures finally financial finding fine finish finished finite firm followed following follows football forbid forces
foreach foreign fprintf frag frequ fresh friends fuck functions furn further games gap gave generally generate
generated generation getting gift girls give given gives giving goal goals goes gone goto gover govern government
grat great greater grow growing growth guar guard guess guest guide guys hair hands happ happy haven having healthy
hear heard heat heavy helped helps highly himself histor holds hope hospital hours hous however huge hundred idea
ideas imag immedi impact implement implementation implied impro includ included income incor incre inde independ
indic indicator indiv indu indust industry infinite infl influ inform initialize inside instanceof instead instit
instruction insurance integ integr intent interested interesting international internet interview introdu invalid
invest invol itself jobs jump justify kept kids killed knew knowledge knows labels labor lack lacks larg larger
largest later launch laws lead leader leaders least leaving legis levels lies likely limitations limited listen
little lives living located logger logging longer lookback looked looking looks lose lost lowest macd mach magn
maint major makes male managed management manager manufact margin markdown market marketing markup massage matches
materials matrix matter maximum maybe meaning means meant meas measure mechan medic medical meet meeting member
members memory mention menu mess messages metal method micro might miles milit military million minimum minor minute
minutes missing mist mixed mock model models modern modify module moment money monitor month months morning motor
moved movement movie moving much multi multiple music myself namespace nation national nature near nearly necess
necessary needed needs network neutral newer newest nicht nodes noise nothing nullptr numbers numer numpy observ
obtain obv obvious occas offer offered offers offic office official often oldest opened opening operations opin
opport oppos organization others otherwise outside overall override pain paint para parameter parameters parents
partial partic particip particular partner partners passed past patients patterns payload pct peace peaks perfect
perform performance perhaps periods permission permissions personal phot photos physical pivot placed placeholder
places planning plans played players playing please pointer polars polic police polit political poor popular
population porn porno positive poss possible posted potential pour powerful pract prec predict prefix prem presence
president pressure pret pretty prevailing prevent previous previously prices prior prison prob probably proble
problem proced produce produced profession programs prompt proper props pros prote protect protected protection
protest provid provide provided provider provides psych publish purch purchase purpose quarter questions quickly
quite quoted quotes race rais raised rally ranges ranging rare rates rather ratio reach reached reaction reading
readonly reality really reasoning reasons rece receive received recent recogn recomm record records redirect redu
reduce refer reflect regard regime regimes region register regular reject relations relationship relative released
reli relig remain remains remember remote removed rencont repair repe repl replay reported reports represent
requests required requirements requires research reserved resolve resources respons response restaur restrict result
returned returns reve revert reviews rights rising risk rout router rsi runs said sale sales sand satisf saved
saying says scen scene sched schools science scient scope scores scre scroll season second seconds secret security
seed seeing seek seem seemed seems selected selector sell selling sender sens sense sentences separ sequence serious
serve server servers service services sett setting settings setup seven sever sexual shall shape share shared shift
shoot shop short should showed showing shown shows shut sich sight signal signals signed signific similar simple
simply simulated sites sizeof skills slight slope slow small smart smooth software sold solution someone something
sometimes somew song soon sources speak special species specific specified spect speech spend spent spirit split
spread spring square stack staff stage stance stand stands start starts stat state states static station status stay
step steps still stoch stock storage store stored stories story straight strateg strategy stream street strength
stress stretch stretched stri strict string strings strong struct stud stuff style styles subject submit subs
success suff suffer suggest suit summer supply support sure surface surpr surround surv symbol systems taken takes
taking talib talking tasks teach team teams techn tell temper temperature template tend term terms terr terror
testing thanks their them theme thems ther therefore these thin thing things think thinking third those though
thought thous thread threat three through throw throws thus tick tier timeframe timeframes timestamp today together
told took torch tour trad trade traded traff traffic trail training transaction transfer transform transition
transport travel treat trend trial triangle tried trigger trip true truly trust truth trying turned twice twin
typeof undefined understand understanding unless updates upon upwards usually variables variety various vehicle
version vict vill viol violence visit visual volatile voter vous waiting want wanted wants warm warn wasn weakness
weap weather website weekend weeks went whatever whether whole whom whose widest wife wild wish within women wonder
wording worked workers would writ wrong wrote years yet yield young yourself
""",
    3: """
ANSWER AVAX British CANDLES CELLS CHARS CLOSE COLUMNS Christian Congress Contribution Council DIGITS DOGE Develop
Divergence EVIDENCE FIELDS February INTEGER Illuminate Keeps LABEL Monday NESTED PROMPT RANGE REPAIR Raised
Republican Robert SCHEMA SIDES STEPS September Street Sunday TIERS VERSION VOTE Verdict Version Wednesday
accumulation agreed announc answered applicable applications appropriate automatically bearish beautiful began
benefit benefits bollinger bullish candle candles caused celebr certainly challeng challenge climax coarser
companies completely compliance considered constrain contributions crusher dangerous decisions declar decline
declining demonstr department described determin determine developed development deviations disease divergence
divergent doubles duplicate earlier easier easily economy employees episode equipment establish excellent exhaustion
extremely families fewer gratis guidance happen happened happens higher highest immediately implements improve
increase increased increasing indicators individual individuals instructions investig investigation investment
involved javax majority methods milliseconds momentum neighb officer officials opinion opportunity oscillators
overbought oversold pandas particularly pictures pivots practice princip problems professional providing pydantic
recently recommend redistrib redistribute regarding resampled respond responsible results retraced reversal safety
secondary semicolon separate several shortest sigmas significant situation smaller society standard started starting
statement stochastic structure strugg student students studies study successful successfully supported symbols
symmetrical technical technology thousands throughout tokens tolerance toward towards traditional traverses
treatment trending unsorted unusable upthrust useful videos volatility voters warrant williams witnesses wouldn
""",
    4: """
DECISIVE MIRROR OPPOSITE QUOTE SIGNALS STANCES VOLUME contradicts divergences themselves warranty wyckoff
""",
}
TOKENS_OF_WORD: Final[Mapping[str, int]] = {word: cost for cost, words in _WORDS.items() for word in words.split()}
"""The most tokens that a word takes; upper and lower case are different words."""
