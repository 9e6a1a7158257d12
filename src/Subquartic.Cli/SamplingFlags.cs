using System.CommandLine;
using System.Globalization;
using Subquartic.Generation;

namespace Subquartic.Cli;

/// <summary>The options of verbs that draw: seed, guidance and how tokens are chosen. What is not given is as the model recommends, or the
/// reference's.</summary>
internal sealed class SamplingFlags
{
    private static readonly SamplingDefaults Reference = SamplingDefaults.Reference, Protocol = SamplingDefaults.Protocol;

    private readonly Option<ulong> _seed = new Option<ulong>("--seed", "-s")
    {
        Description = "Seed of the random numbers; the same seed gives the same bytes.",
        HelpName = "number",
        DefaultValueFactory = _ => 0,
    }.Require(_ => true, "a whole number, 0 or more");

    private readonly Option<float> _guidance = new Option<float>("--guidance", "-g")
    {
        Description = "Strength of the classifier-free guidance; 0 turns it off and halves the work. "
            + Otherwise(Reference.Guidance, string.Create(CultureInfo.InvariantCulture, $"the reference's evaluation takes {Protocol.Guidance}")),
        HelpName = "number",
    }.Require(float.IsFinite, "a finite number");

    private readonly Option<int> _topK = new Option<int>("--top-k")
    {
        Description = "Draw from the k likeliest tokens only; 0 for all. " + Otherwise(Reference.TopK),
        HelpName = "number",
    }.Require(value => value >= 0, "a whole number, 0 or more");

    private readonly Option<float> _topP = new Option<float>("--top-p")
    {
        Description = "Draw from the likeliest tokens that together have this probability; 0 or 1 for all. " + Otherwise(Reference.TopP),
        HelpName = "number",
    }.Require(value => value is >= 0 and <= 1, "a number, 0 to 1");

    private readonly Option<float> _temperature = new Option<float>("--temperature")
    {
        Description = "Above 1 more varied, below 1 more typical pictures. " + Otherwise(Reference.Temperature),
        HelpName = "number",
    }.Require(value => value > 0 && float.IsFinite(value), "a number above 0");

    private readonly Option<float> _finalTemperature = new Option<float>("--final-temperature")
    {
        Description = "Temperature at the last scale, to which it goes evenly from --temperature at the first. [default: as the model recommends where --temperature is not given, or the same]",
        HelpName = "number",
    }.Require(value => value > 0 && float.IsFinite(value), "a number above 0");

    private readonly Option<int> _passes = new Option<int>("--passes")
    {
        Description = "Passes in which the tokens of a map are drawn, each seeing those of the passes before, by a model trained for it. " + Otherwise(Reference.Passes),
        HelpName = "number",
    }.Require(value => value is >= 1 and <= SamplingOptions.MaxPasses, $"a whole number, 1 to {SamplingOptions.MaxPasses}");

    private readonly Option<bool> _smooth = new("--smooth")
    {
        Description = "Mix code vectors instead of choosing one: smoother pictures, less detail.",
    };

    public void AddTo(Command verb)
    {
        verb.Validators.Add(result =>
        {
            if (result.GetValue(_smooth) && result.GetResult(_passes) is { Implicit: false } && result.GetValue(_passes) > 1)
            {
                result.AddError("--smooth draws all tokens of a map at once; it does not go with --passes");
            }
        });
        foreach (Option option in new Option[] { _seed, _guidance, _topK, _topP, _temperature, _finalTemperature, _passes, _smooth })
        {
            verb.Add(option);
        }
    }

    /// <summary>What the options ask for.</summary>
    /// <param name="options">The command line.</param>
    /// <param name="labels">What to draw.</param>
    /// <param name="otherwise">For options that were not given.</param>
    public GenerationRequest Request(ParseResult options, IReadOnlyList<int> labels, SamplingDefaults otherwise)
    {
        return new GenerationRequest
        {
            Labels = labels,
            Seed = options.GetValue(_seed),
            Guidance = Given(_guidance, otherwise.Guidance),
            Sampling = new SamplingOptions
            {
                TopK = Given(_topK, otherwise.TopK),
                TopP = Given(_topP, otherwise.TopP),
                Temperature = Given(_temperature, otherwise.Temperature),
                FinalTemperature = IsGiven(_finalTemperature) ? options.GetValue(_finalTemperature) : IsGiven(_temperature) ? null : otherwise.FinalTemperature,
                Passes = options.GetValue(_smooth) ? 1 : Given(_passes, otherwise.Passes),
                MoreSmooth = options.GetValue(_smooth),
            },
        };

        T Given<T>(Option<T> option, T value) => IsGiven(option) ? options.GetValue(option)! : value;
        bool IsGiven(Option option) => options.GetResult(option) is { Implicit: false };
    }

    private static string Otherwise(float reference, string? more = null) => string.Create(
        CultureInfo.InvariantCulture, $"[default: as the model recommends, or {reference}{(more is null ? "" : $"; {more}")}]");
}
