using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Subquartic.Numerics.Kernels;
using Subquartic.Verification;

namespace Subquartic.Cli.Verbs;

/// <summary><c>verify</c>: compares the engine with recorded results of the reference implementation.</summary>
internal sealed class VerifyVerb : Verb
{
    private readonly Argument<DirectoryInfo> _folder = new("folder")
    {
        Description = "A case: config.json, the two checkpoints it names, and expected.safetensors.",
    };

    private readonly EngineOptions _engine = new();

    public VerifyVerb()
        : base(
            "verify", "Runs a recorded case and compares every tensor with its tolerance; exit code 1 if one is exceeded.",
            "verify tests/Subquartic.Tests/Golden/c_096_l2_shared_phi0",
            "verify my-port --attention reference --kernels scalar --json")
    {
        Add(_folder);
        _engine.AddTo(this, withModel: false);
        AddJson();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation)
    {
        KernelSet kernels = _engine.CreateKernels(options);
        using EngineAttention attention = _engine.CreateAttention(options, kernels, terminal);
        string path = options.GetRequiredValue(_folder).ToString();
        VerificationReport report = terminal.DuringReading(
            "Verifying",
            say =>
            {
                using CaseFolder folder = CaseFolder.Open(path);
                return CaseVerifier.Run(folder, kernels, attention.Strategy, new Steps(say));
            },
            cancellation);
        if (terminal.IsJson)
        {
            Terminal.WriteJson(
                new VerifyDocument(path, report.Case, report.Passed, attention.Name, kernels.Name, kernels.Pool.Threads, report.Rows, attention.Report()),
                Documents.Default.VerifyDocument);
        }
        else
        {
            Show(report, terminal);
            attention.Report()?.Show(terminal);
        }

        return Task.FromResult(report.Passed ? ExitCode.Success : ExitCode.Failure);
    }

    private static void Show(VerificationReport report, Terminal terminal)
    {
        Table table = Terminal.NewTable().AddColumns("tensor", "outcome");
        table.AddColumn(new TableColumn("largest error").RightAligned());
        table.AddColumn(new TableColumn("tolerance").RightAligned());
        table.AddColumn("note");
        foreach (VerificationRow row in report.Rows)
        {
            var style = new Style(row.Outcome switch
            {
                VerificationOutcome.Passed => Color.Green,
                VerificationOutcome.Failed => Color.Red,
                _ => Color.Grey,
            });
            string error = row.Tokens is { } tokens ? $"{row.Mismatched} of {tokens} tokens" : Number(row.MaxError);
            table.AddRow(
                new Text(row.Tensor), new Text(Word(row.Outcome), style), new Text(error), new Text(Number(row.Tolerance)), new Text(row.Note ?? ""));
        }

        terminal.Out.Write(table);
        IEnumerable<string> counts = report.Rows.CountBy(row => row.Outcome).OrderBy(x => x.Key).Select(x => $"{x.Value} {Word(x.Key)}");
        terminal.Say($"{report.Case}: {string.Join(", ", counts)}.");
    }

    private static string Number(double? value) => value is 0 ? "0" : value?.ToString("0.0e+0", CultureInfo.InvariantCulture) ?? "";

    private static string Word(VerificationOutcome outcome) => outcome switch
    {
        VerificationOutcome.Passed => "passed",
        VerificationOutcome.Failed => "failed",
        _ => "skipped",
    };

    /// <summary>Reports on the calling thread, in order; <see cref="Progress{T}"/> would use others.</summary>
    private sealed class Steps(Action<string> say) : IProgress<string>
    {
        public void Report(string value) => say($"Verifying: {value}");
    }
}
