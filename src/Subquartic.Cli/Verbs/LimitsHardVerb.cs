using System.CommandLine;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits hard</c>: the family on which no fast way is expected.</summary>
internal sealed class LimitsHardVerb : LimitsSubcommand
{
    private readonly Option<int> _tokens = new Option<int>("--tokens")
    {
        Description = "Number of queries and of keys, a power of two.",
        HelpName = "number",
        DefaultValueFactory = _ => 64,
    }.Require(value => value is 16 or 32 or 64 or 128 or 256, "16, 32, 64, 128 or 256");

    public LimitsHardVerb()
        : base(
            "hard", "Hides one near pair among random codes: exact attention finds it, polynomials only with more features than tokens.",
            "limits hard",
            "limits hard --tokens 256 --picture hard.svg")
    {
        Add(_tokens);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        HardReport report = terminal.During("Measuring", () => HardReport.Measure(CreateKernels(options), options.GetValue(_tokens)));
        Write(report, Documents.Default.HardReport, report.Picture, () => Show(report, terminal), options, terminal);
        return Task.FromResult(ExitCode.Success);
    }

    private static void Show(HardReport report, Terminal terminal)
    {
        Table(
            terminal, ["degree", "features", $"found, of {report.Instances}"],
            report.Rows.Where(row => row.Degree % 4 == 0 || row.Degree == report.ReferenceDegree || row.Degree == 1)
                .Select(row => (IEnumerable<object>)[row.Degree, row.Features, row.Found]));
        terminal.Say($"N = {report.Tokens} codes of {report.Bits} bits, the pair at distance {report.Distance}, all others at {2 * report.Distance} or more; R = {Number(report.Entry)}, scores up to {Number(report.Beta)}.");
        terminal.Say($"Exact attention finds the pair in {report.FoundExactly} of {report.Instances} instances; low-rank attention computed {report.Refused} of them exactly: {report.Reason}.");
        terminal.Say(report.ReferenceDegree is { } degree
            ? $"Polynomials find it always from degree {degree} on, with {Number(report.ReferenceFeatures!.Value)} features."
            : "Polynomials of no degree tried find it always.");
    }
}
