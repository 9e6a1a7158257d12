using System.CommandLine;
using Subquartic.Generation;

namespace Subquartic.Cli;

/// <summary>The options of verbs that draw: seed, guidance and how tokens are chosen. The defaults are those of the released
/// demonstration (VAR demo_sample.ipynb); its evaluation uses --guidance 1.5 --top-k 900 --top-p 0.96.</summary>
internal sealed class SamplingFlags
{
    private static readonly GenerationRequest Defaults = new() { Labels = [] };

    private readonly Option<ulong> _seed = new Option<ulong>("--seed", "-s")
    {
        Description = "Seed of the random numbers; the same seed gives the same bytes.",
        HelpName = "number",
        DefaultValueFactory = _ => Defaults.Seed,
    }.Require(_ => true, "a whole number, 0 or more");

    private readonly Option<float> _guidance = new Option<float>("--guidance", "-g")
    {
        Description = "Strength of the classifier-free guidance; 0 turns it off and halves the work. "
            + "The default is the reference demo's; its evaluation takes 1.5.",
        HelpName = "number",
        DefaultValueFactory = _ => Defaults.Guidance,
    }.Require(float.IsFinite, "a finite number");

    private readonly Option<int> _topK = new Option<int>("--top-k")
    {
        Description = "Draw from the k likeliest tokens only; 0 for all.",
        HelpName = "number",
        DefaultValueFactory = _ => Defaults.Sampling.TopK,
    }.Require(value => value >= 0, "a whole number, 0 or more");

    private readonly Option<float> _topP = new Option<float>("--top-p")
    {
        Description = "Draw from the likeliest tokens that together have this probability; 0 or 1 for all.",
        HelpName = "number",
        DefaultValueFactory = _ => Defaults.Sampling.TopP,
    }.Require(value => value is >= 0 and <= 1, "a number, 0 to 1");

    private readonly Option<float> _temperature = new Option<float>("--temperature")
    {
        Description = "Above 1 more varied, below 1 more typical pictures.",
        HelpName = "number",
        DefaultValueFactory = _ => Defaults.Sampling.Temperature,
    }.Require(value => value > 0 && float.IsFinite(value), "a number above 0");

    private readonly Option<bool> _smooth = new("--smooth")
    {
        Description = "Mix code vectors instead of choosing one: smoother pictures, less detail.",
    };

    public void AddTo(Command verb)
    {
        foreach (Option option in new Option[] { _seed, _guidance, _topK, _topP, _temperature, _smooth })
        {
            verb.Add(option);
        }
    }

    /// <summary>What the options ask for; options that were not given take other defaults.</summary>
    public GenerationRequest Request(ParseResult options, IReadOnlyList<int> labels, float guidance, int topK, float topP)
    {
        GenerationRequest request = Request(options, labels);
        return request with
        {
            Guidance = Given(_guidance) ? request.Guidance : guidance,
            Sampling = request.Sampling with
            {
                TopK = Given(_topK) ? request.Sampling.TopK : topK,
                TopP = Given(_topP) ? request.Sampling.TopP : topP,
            },
        };

        bool Given(Option option) => options.GetResult(option) is { Implicit: false };
    }

    /// <summary>What the options ask for.</summary>
    public GenerationRequest Request(ParseResult options, IReadOnlyList<int> labels) => new()
    {
        Labels = labels,
        Seed = options.GetValue(_seed),
        Guidance = options.GetValue(_guidance),
        Sampling = new SamplingOptions
        {
            TopK = options.GetValue(_topK),
            TopP = options.GetValue(_topP),
            Temperature = options.GetValue(_temperature),
            MoreSmooth = options.GetValue(_smooth),
        },
    };
}
