"""The GraphQL documents the demo sends."""

CREATE_USERS = """mutation CreateUsers($input: CreateUsersInput!) {
  createUsers(input: $input) { users { id email name } userErrors { code message path } } }"""

CREATE_COURSE = """mutation CreateCourse($input: CreateCourseInput!) {
  createCourse(input: $input) { course { id } userErrors { code message path } } }"""

GRANT_ROLE = """mutation GrantRole($input: GrantRoleInput!) {
  grantRole(input: $input) { roleGrant { id } userErrors { code message path } } }"""

ENROL = """mutation EnrolUsers($input: EnrolUsersInput!) {
  enrolUsers(input: $input) { enrollments { id } userErrors { code message path } } }"""

UPLOAD = """mutation UploadDocument($input: UploadDocumentInput!) {
  uploadDocument(input: $input) { document { id } userErrors { code message path } } }"""

DOCUMENTS = """query Documents($courseId: ID!) {
  node(id: $courseId) { ... on Course { documents(first: 50) {
    nodes { id title state chunkCount failure { message } } } } } }"""

CREATE_SESSION = """mutation CreateStudySession($input: CreateStudySessionInput!) {
  createStudySession(input: $input) { studySession { id } userErrors { code message path } } }"""

ASK = """mutation AskQuestion($input: AskQuestionInput!) {
  askQuestion(input: $input) { message { id } userErrors { code message path } } }"""

STUDY = """subscription Study($sessionId: ID!, $afterSeq: Int) {
  studyMessage(sessionId: $sessionId, afterSeq: $afterSeq) {
    seq kind
    chunk { generation offset text }
    message { id author state text citations {
      ordinal quote verified document { title } chunk { headingPath } } } } }"""

CREATE_RUBRIC = """mutation CreateRubric($input: CreateRubricInput!) {
  createRubric(input: $input) {
    rubric { id versions { criteria { id title } } } userErrors { code message path } } }"""

PUBLISH_RUBRIC = """mutation PublishRubric($input: PublishRubricInput!) {
  publishRubric(input: $input) { rubric { id } userErrors { code message path } } }"""

CREATE_ASSIGNMENT = """mutation CreateAssignment($input: CreateAssignmentInput!) {
  createAssignment(input: $input) {
    assignment { id questions { id } } userErrors { code message path } } }"""

PUBLISH_ASSIGNMENT = """mutation PublishAssignment($input: PublishAssignmentInput!) {
  publishAssignment(input: $input) { assignment { id } userErrors { code message path } } }"""

CREATE_ANCHOR_PAPER = """mutation CreateAnchorPaper($input: CreateAnchorPaperInput!) {
  createAnchorPaper(input: $input) { anchorPaper { id } userErrors { code message path } } }"""

SUBMIT = """mutation SubmitAttempt($input: SubmitAttemptInput!) {
  submitAttempt(input: $input) { submission { id alias } userErrors { code message path } } }"""

START_RUN = """mutation StartGradingRun($input: StartGradingRunInput!) {
  startGradingRun(input: $input) {
    gradingRun { id state } userErrors { code message path } } }"""

GRADES = """query Grades($assignmentId: ID!, $after: String) {
  node(id: $assignmentId) { ... on Assignment { submissions(first: 50, after: $after) {
    nodes { id alias student { email name } grade { __typename
      ... on Grade { id state score total decidedBy } } }
    pageInfo { hasNextPage endCursor } } } } }"""

TASKS = """query Tasks($runId: ID!, $after: String) {
  node(id: $runId) { ... on GradingRun { state tasks(first: 50, after: $after) {
    nodes { alias state reasons { code detail } submission { id } }
    pageInfo { hasNextPage endCursor } } } } }"""

ADJUST = """mutation AdjustGrade($input: AdjustGradeInput!) {
  adjustGrade(input: $input) {
    grade { id state score } userErrors { code message path } } }"""

FINALISE = """mutation FinaliseGrades($input: FinaliseGradesInput!) {
  finaliseGrades(input: $input) { grades { id state } userErrors { code message path } } }"""

RELEASE = """mutation ReleaseGrades($input: ReleaseGradesInput!) {
  releaseGrades(input: $input) { grades { id state } userErrors { code message path } } }"""

READ_GRADE = """query MyGrade($submissionId: ID!) { node(id: $submissionId) {
  ... on Submission { alias grade { __typename
    ... on GradeNotReleased { message }
    ... on Grade { score total pointsPossible feedback reason criteria {
      points rationale criterion { title points } evidence { quote verified } } } } } } }"""
