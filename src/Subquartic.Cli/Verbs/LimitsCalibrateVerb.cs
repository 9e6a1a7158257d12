using System.CommandLine;
using Subquartic.Attention;
using Subquartic.Numerics.Kernels;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits calibrate</c>: what merging keys and computing with integers cost on this machine, measured anew and kept.</summary>
internal sealed class LimitsCalibrateVerb : Verb
{
    private readonly EngineOptions _engine = new();

    public LimitsCalibrateVerb()
        : base(
            "calibrate", "Measures what certified attention costs on this machine and keeps it for later runs with --attention certified or audited. Pictures of these may change with it.",
            "limits calibrate",
            "limits calibrate --kernels vector256 --json")
    {
        _engine.AddTo(this, withModel: false, withAttention: false);
        AddJson();
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => Task.Run(
        () =>
        {
            KernelSet kernels = _engine.CreateKernels(options);
            CertifiedCosts costs = terminal.During("Measuring", () => CertifiedCosts.Measure(kernels));
            string? path = CertifiedCosts.DefaultPath(kernels);
            if (path is not null)
            {
                costs.Write(path, kernels);
            }

            if (terminal.IsJson)
            {
                Terminal.WriteJson(new CostsDocument(costs, kernels.Name, path), Documents.Default.CostsDocument);
                return ExitCode.Success;
            }

            terminal.Say($"In multiply-adds of exact attention ({kernels.Name}): {costs.Describe()}");
            terminal.Say(path is null ? "There is no folder to keep them in." : $"  {path}");
            return ExitCode.Success;
        },
        CancellationToken.None);
}
