using Subquartic.Generation;
using Subquartic.Models;

namespace Subquartic.Tests.Training;

/// <summary>Models small enough to train in a test.</summary>
internal static class SmallModels
{
    /// <summary>Two blocks of width 24 over the scales 1, 2, 4; tests vary what matters to them.</summary>
    public static VarConfig Transformer { get; } = new()
    {
        Depth = 2,
        Width = 24,
        Heads = 2,
        HiddenWidth = 48,
        Classes = 16,
        Vocabulary = 24,
        CodeChannels = 8,
        AttentionL2Norm = true,
        SharedAdaLn = true,
        Scales = ScaleSchedule.Square(1, 2, 4),
    };
}
